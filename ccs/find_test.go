package ccs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	for _, dir := range []string{"flag", "env", "etc", "bare"} {
		if err := os.Mkdir(at(dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if dir == "bare" {
			continue
		}
		if err := os.WriteFile(filepath.Join(at(dir), ClusterFile), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, flag, env, fallback string
		dir, source               string
		says                      []string // in the error, if dir is empty
	}{
		{"flag wins", at("flag"), at("env"), at("etc"), at("flag"), "--config", nil},
		{"flag is cleaned", at("flag") + "/", "", at("etc"), at("flag"), "--config", nil},
		{"then the environment", "", at("env"), at("etc"), at("env"), EnvDir, nil},
		{"then the default", "", "", at("etc"), at("etc"), "default", nil},
		{"no other is tried for the flag", at("none"), at("env"), at("etc"), "", "", []string{"--config       " + at("none") + ": no such folder", "not looked at"}},
		{"no other is tried for the environment", "", at("bare"), at("etc"), "", "", []string{"--config       not given", EnvDir + "    " + at("bare") + ": holds no cluster.ccs"}},
		{"a file is no folder", filepath.Join(at("flag"), ClusterFile), "", at("etc"), "", "", []string{"is a file; name the folder that it is in"}},
		{"nothing at all", "", "", at("none"), "", "", []string{EnvDir + "    not set", at("none") + "  no such folder", "put cluster.ccs, nodes.ccs and fence.ccs into " + at("none"), "--config DIR or GULM_CONFIG=DIR"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, source, err := find(c.flag, c.env, c.fallback)
			if dir != c.dir || source != c.source || (err == nil) != (c.dir != "") {
				t.Fatalf("got %q, %q, %v; want %q, %q", dir, source, err, c.dir, c.source)
			}
			if err == nil {
				return
			}
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("%v is not ErrNotFound", err)
			}
			for _, text := range c.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("the error does not say %q:\n%v", text, err)
				}
			}
			if lines := strings.Count(err.Error(), "\n"); lines > 8 {
				t.Errorf("the error has %d lines", lines)
			}
		})
	}
}

func TestFindReadsTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ClusterFile), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv(EnvDir, dir)
	got, source, err := Find("")
	if err != nil || got != dir || source != EnvDir {
		t.Errorf("got %q, %q, %v", got, source, err)
	}
}
