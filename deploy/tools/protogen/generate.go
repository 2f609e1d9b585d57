package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/protoutil"
	"github.com/bufbuild/protocompile/reporter"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/pluginpb"
)

// plugins are run in this order, as `go tool NAME`, so go.mod decides their
// versions. A later one may not write a file of an earlier one.
var plugins = []string{"protoc-gen-go", "protoc-gen-go-grpc"}

// parameter makes the plugins write beside the .proto file.
const parameter = "paths=source_relative"

// generate compiles every .proto file below protoDir and returns what the
// plugins make of them, by path below protoDir. All faults in the .proto files
// are reported together.
func generate(ctx context.Context, root, protoDir string) (map[string][]byte, error) {
	var names []string
	err := walk(protoDir, ".proto", func(name string) error {
		names = append(names, filepath.ToSlash(name))
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no .proto file below %s", protoDir)
	}
	slices.Sort(names)
	files, err := compile(ctx, protoDir, names)
	if err != nil {
		return nil, err
	}
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: names,
		Parameter:      proto.String(parameter),
	}
	seen := map[string]bool{}
	for _, file := range files {
		addWithImports(request, file, seen)
	}
	return runPlugins(ctx, root, request)
}

// compile parses and links the named files; comments are kept, since the
// plugins turn them into doc comments.
func compile(ctx context.Context, protoDir string, names []string) (linker.Files, error) {
	var faults []error
	collect := func(err reporter.ErrorWithPos) error {
		faults = append(faults, err)
		return nil // go on to the next fault
	}
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
			ImportPaths: []string{protoDir},
		}),
		SourceInfoMode: protocompile.SourceInfoStandard,
		Reporter:       reporter.NewReporter(collect, nil),
	}
	files, err := compiler.Compile(ctx, names...)
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return files, err
}

// addWithImports appends file to the request after everything it imports: the
// order that plugins are promised.
func addWithImports(request *pluginpb.CodeGeneratorRequest, file protoreflect.FileDescriptor, seen map[string]bool) {
	if seen[file.Path()] {
		return
	}
	seen[file.Path()] = true
	imports := file.Imports()
	for i := range imports.Len() {
		addWithImports(request, imports.Get(i).FileDescriptor, seen)
	}
	request.ProtoFile = append(request.ProtoFile, protoutil.ProtoFromFileDescriptor(file))
}

// runPlugins hands the request to each plugin and collects the files.
func runPlugins(ctx context.Context, root string, request *pluginpb.CodeGeneratorRequest) (map[string][]byte, error) {
	input, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	files := map[string][]byte{}
	for _, plugin := range plugins {
		response, err := runPlugin(ctx, root, plugin, input)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", plugin, err)
		}
		for _, file := range response.GetFile() {
			if _, twice := files[file.GetName()]; twice || file.InsertionPoint != nil {
				return nil, fmt.Errorf("%s: cannot add to %s, which another plugin wrote", plugin, file.GetName())
			}
			files[file.GetName()] = []byte(file.GetContent())
		}
	}
	return files, nil
}

// runPlugin runs one plugin in the module root, where go.mod names its version.
func runPlugin(ctx context.Context, root, plugin string, input []byte) (*pluginpb.CodeGeneratorResponse, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "tool", plugin)
	cmd.Dir = root
	cmd.Stdin = bytes.NewReader(input)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	response := &pluginpb.CodeGeneratorResponse{}
	if err := proto.Unmarshal(stdout.Bytes(), response); err != nil {
		return nil, fmt.Errorf("decode the answer: %w", err)
	}
	if response.Error != nil {
		return nil, errors.New(response.GetError())
	}
	return response, nil
}
