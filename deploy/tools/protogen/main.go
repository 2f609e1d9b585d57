// Command protogen turns every .proto file under proto/ into Go code.
//
// It needs no protoc: protocompile reads the files, and the two plugins are
// the versions that go.mod pins as tools. Run it anywhere inside the module:
//
//	go run ./deploy/tools/protogen          write the .pb.go files
//	go run ./deploy/tools/protogen -check   name those that are not current
//
// Exit codes: 0 done or current, 1 failed or not current, 2 wrong usage.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

// errStale says that -check found something; the files are on standard output.
var errStale = errors.New("generated code is not current: run go run ./deploy/tools/protogen")

func main() {
	check := flag.Bool("check", false, "write nothing; print the files that differ and exit 1 if there are any")
	dir := flag.String("dir", "", "`directory` of the .proto files (default: proto/ of the module)")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *dir, *check)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

// run generates the code of protoDir in memory and writes or compares it.
func run(ctx context.Context, protoDir string, check bool) error {
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	if protoDir == "" {
		protoDir = filepath.Join(root, "proto")
	}
	want, err := generate(ctx, root, protoDir)
	if err != nil {
		return err
	}
	have, err := committed(protoDir)
	if err != nil {
		return err
	}
	changed := differing(want, have)
	for _, name := range changed {
		fmt.Println(filepath.Join(protoDir, filepath.FromSlash(name)))
	}
	if check {
		if len(changed) > 0 {
			return errStale
		}
		return nil
	}
	return write(protoDir, changed, want)
}

// moduleRoot returns the directory of the go.mod around the working directory.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", errors.New("not inside a Go module: change into the repository")
	}
	return filepath.Dir(mod), nil
}

// committed reads the generated files that are in the tree, by their path
// below protoDir.
func committed(protoDir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := walk(protoDir, ".pb.go", func(name string) error {
		data, err := os.ReadFile(filepath.Join(protoDir, name))
		files[filepath.ToSlash(name)] = data
		return err
	})
	return files, err
}

// walk calls f with the path below dir of every file whose name ends in suffix.
func walk(dir, suffix string, f func(name string) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, suffix) {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return f(name)
	})
}

// differing returns the sorted names that are missing, different, or left over
// from a .proto file that is gone.
func differing(want, have map[string][]byte) []string {
	var names []string
	for name, data := range want {
		if old, ok := have[name]; !ok || !bytes.Equal(old, data) {
			names = append(names, name)
		}
	}
	for name := range have {
		if _, ok := want[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// write makes the named files below protoDir as in want; a name that want
// lacks is removed.
func write(protoDir string, names []string, want map[string][]byte) error {
	for _, name := range names {
		path := filepath.Join(protoDir, filepath.FromSlash(name))
		data, ok := want[name]
		var err error
		if ok {
			err = os.WriteFile(path, data, 0o644)
		} else {
			err = os.Remove(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
