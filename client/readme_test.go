package client_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"lock_gulmd/client"
)

// The program in the README, word for word.
//
// readme begins
func work(ctx context.Context) error {
	node, err := client.Dial(ctx, client.Config{
		Cluster: "farm7", Node: "fs01", Servers: []string{"127.0.0.11:40040", "127.0.0.12:40040", "127.0.0.13:40040"},
	})
	if err != nil {
		return err
	}
	// To go without a word is to crash: the node is expired and fenced.
	defer node.Logout(context.WithoutCancel(ctx))
	space, err := node.Join(ctx, "farm7:data", client.JoinOptions{})
	if err != nil {
		return err
	}
	lock, err := space.Lock(ctx, "inode 4711", client.EX)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if err := lock.Valid(); err != nil { // right before every write
		return err
	}
	fmt.Println("write, with token", lock.Token())
	return nil
}

// readme ends

// TestReadme shows that the program in the README is the one above, which
// compiles, and that it gives up with its context when there are no servers.
func TestReadme(t *testing.T) {
	source, err := os.ReadFile("readme_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(source), "// readme begins\n")
	program, _, ok := strings.Cut(program, "\n// readme ends")
	if !ok {
		t.Fatal("no program")
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```go\n"+program+"```\n") {
		t.Errorf("the README does not have this program:\n%s", program)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := work(ctx); err == nil {
		t.Error("it worked without servers")
	}
}
