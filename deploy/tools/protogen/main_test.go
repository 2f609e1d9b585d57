package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const lockProto = `syntax = "proto3";
package a.v1;
import "google/protobuf/duration.proto";
import "a/v1/types.proto";
option go_package = "example/a/v1;av1";
// Request asks for something.
message Request {
  // How to ask.
  Mode mode = 1;
  google.protobuf.Duration wait = 2; // How long to wait.
}
service Lock {
  // Ask answers in time.
  rpc Ask(Request) returns (Request);
}
`

const typesProto = `syntax = "proto3";
package a.v1;
option go_package = "example/a/v1;av1";
enum Mode { MODE_UNSPECIFIED = 0; }
`

// sources writes .proto files into a new directory.
func sources(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func generated(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files, err := committed(dir)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestRun(t *testing.T) {
	dir := sources(t, map[string]string{"a/v1/lock.proto": lockProto, "a/v1/types.proto": typesProto})

	if err := run(t.Context(), dir, true); err != errStale {
		t.Errorf("check of a tree without generated code: %v, want errStale", err)
	}
	if files := generated(t, dir); len(files) > 0 {
		t.Errorf("check wrote %d files", len(files))
	}

	if err := run(t.Context(), dir, false); err != nil {
		t.Fatal(err)
	}
	files := generated(t, dir)
	want := []string{"a/v1/lock.pb.go", "a/v1/lock_grpc.pb.go", "a/v1/types.pb.go"}
	if names := slices.Sorted(maps.Keys(files)); !slices.Equal(names, want) {
		t.Errorf("wrote %q, want %q", names, want)
	}
	for name, comment := range map[string]string{
		"a/v1/lock.pb.go":      "// Request asks for something.",
		"a/v1/lock_grpc.pb.go": "// Ask answers in time.",
	} {
		if !strings.Contains(string(files[name]), comment) {
			t.Errorf("%s has lost the comment %q", name, comment)
		}
	}
	if err := run(t.Context(), dir, true); err != nil {
		t.Errorf("check right after writing: %v", err)
	}
}

func TestRun_leftovers(t *testing.T) {
	dir := sources(t, map[string]string{
		"a/v1/types.proto":  typesProto,
		"a/v1/types.pb.go":  "package av1 // written for an older types.proto",
		"a/v1/gone.pb.go":   "package av1 // its gone.proto was removed",
		"a/v1/extra.go":     "package av1 // by hand",
		"a/v1/z/empty.text": "",
	})
	if err := run(t.Context(), dir, true); err != errStale {
		t.Errorf("check: %v, want errStale", err)
	}
	if err := run(t.Context(), dir, false); err != nil {
		t.Fatal(err)
	}
	files := generated(t, dir)
	if _, ok := files["a/v1/gone.pb.go"]; ok {
		t.Error("gone.pb.go is still there")
	}
	if strings.Contains(string(files["a/v1/types.pb.go"]), "older") {
		t.Error("types.pb.go was not written anew")
	}
	if _, err := os.Stat(filepath.Join(dir, "a/v1/extra.go")); err != nil {
		t.Error("a file written by hand was removed")
	}
}

func TestRun_faults(t *testing.T) {
	dir := sources(t, map[string]string{
		"a/v1/one.proto": "syntax = \"proto3\";\npackage a.v1;\nmessage One { Missing m = 1; }\n",
		"a/v1/two.proto": "syntax = \"proto3\";\npackage a.v1;\nmessage Two { Absent a = 1; }\n",
	})
	err := run(t.Context(), dir, false)
	if err == nil {
		t.Fatal("no error for .proto files with faults")
	}
	for _, part := range []string{"one.proto:3", "Missing", "two.proto:3", "Absent"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error does not name %s: %v", part, err)
		}
	}
	if err := run(t.Context(), t.TempDir(), false); err == nil || !strings.Contains(err.Error(), "no .proto file") {
		t.Errorf("empty directory: %v", err)
	}
}
