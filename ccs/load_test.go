package ccs

import (
	"bytes"
	"path/filepath"
	"testing"
)

// TestExamples loads every example that users are told to start from.
func TestExamples(t *testing.T) {
	dirs, err := filepath.Glob("../deploy/examples/*/" + ClusterFile)
	if err != nil || len(dirs) < 2 {
		t.Fatalf("found %d examples, error %v", len(dirs), err)
	}
	for _, file := range dirs {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			cfg, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if err := cfg.Print(&b); err != nil {
				t.Fatal(err)
			}
			for _, w := range cfg.Warnings() {
				if w.File != FenceFile {
					t.Errorf("the example earns a warning: %v", w)
				}
			}
			t.Log(b.String())
		})
	}
}
