package codec

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "write the bytes of commands that have no file in testdata/golden yet")

// TestGolden: the log of every release must be read for ever, so the bytes in
// testdata/golden are never changed: -rewrite only adds files.
func TestGolden(t *testing.T) {
	var want []string
	versions := map[string]int{}
	for _, c := range append(earlier(), examples()...) {
		name := typeName(c)
		versions[name]++
		if v := versions[name]; v > 1 {
			name = fmt.Sprintf("%s-%d", name, v)
		}
		file := filepath.Join("testdata", "golden", name+".hex")
		want = append(want, file)
		data := Encode(1_700_000_000_000, c)
		if _, err := os.Stat(file); *rewrite && os.IsNotExist(err) {
			if err := os.WriteFile(file, []byte(lines(hex.EncodeToString(data))), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Errorf("%v: -rewrite makes it", err)
			continue
		}
		golden, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(golden, data) {
			t.Errorf("%T is encoded otherwise than it was: old logs and new ones differ", c)
		}
		stamp, again, err := Decode(golden)
		if err != nil || stamp != 1_700_000_000_000 || !reflect.DeepEqual(again, c) {
			t.Errorf("%T of an old log: %v, at %d: %s", c, err, stamp, cmp.Diff(c, again))
		}
	}
	have, err := filepath.Glob("testdata/golden/*.hex")
	slices.Sort(want)
	slices.Sort(have)
	if err != nil || !slices.Equal(have, want) {
		t.Errorf("testdata/golden: %v: %s", err, cmp.Diff(want, have))
	}
}

// lines breaks a text into lines of 64.
func lines(s string) string {
	var b strings.Builder
	for part := range slices.Chunk([]byte(s), 64) {
		b.Write(part)
		b.WriteByte('\n')
	}
	return b.String()
}
