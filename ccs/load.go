package ccs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// topSection is the one section that each file consists of.
var topSection = map[string]string{
	ClusterFile: "cluster",
	NodesFile:   "nodes",
	FenceFile:   "fence_devices",
}

// Source is the text of a configuration that does not have to be in files.
type Source struct {
	// Dir is the folder to which the paths of secret files are relative; the
	// working directory if it is empty.
	Dir string
	// Cluster, Nodes and Fence are the contents of the three files.
	Cluster, Nodes, Fence []byte
}

// Load reads and checks the three files of a folder. Its error is a [*Faults]
// that lists everything that is wrong, files that cannot be read included.
func Load(dir string) (*Config, error) {
	l := &loader{dir: dir}
	texts := make(map[string][]byte, len(fileOrder))
	for _, file := range fileOrder {
		data, err := readSource(filepath.Join(dir, file))
		if err != nil {
			l.fault(file, 0, "the file cannot be read: "+reason(err), fileCure(err))
			continue
		}
		texts[file] = data
		if info, err := os.Stat(filepath.Join(dir, file)); err == nil && info.Mode().Perm()&worldAccess != 0 {
			l.open = append(l.open, file)
		}
	}
	return l.build(texts)
}

// Parse does what [Load] does with text that the caller has read.
func Parse(src Source) (*Config, error) {
	l := &loader{dir: src.Dir}
	return l.build(map[string][]byte{
		ClusterFile: src.Cluster, NodesFile: src.Nodes, FenceFile: src.Fence,
	})
}

// readSource reads a file, but not more than a little above the limit that
// the parser refuses.
func readSource(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFileSize+1))
}

// fileCure says what to do about a file that cannot be read.
func fileCure(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "create it, or choose another folder"
	case errors.Is(err, fs.ErrPermission):
		return "let the user that runs this program read it"
	}
	return "see that it is an ordinary readable file"
}

// loader turns three trees into one Config and collects faults on the way.
type loader struct {
	dir      string
	cfg      Config
	faults   []Fault
	warnings []Fault
	// lockLines are the lines of the keys of lock_gulm; "" is the section.
	lockLines map[string]int
	// serverLines are the lines of the server names, as in cfg.Lock.Servers.
	serverLines []int
	// open are the files that everybody on the machine may read.
	open []string
	// plainSecrets are the lines of the first password in each file.
	plainSecrets map[string]int
}

func (l *loader) fault(file string, line int, text, cure string) {
	l.faults = append(l.faults, Fault{File: file, Line: line, Text: text, Cure: cure})
}

func (l *loader) warn(file string, line int, text, cure string) {
	l.warnings = append(l.warnings, Fault{File: file, Line: line, Text: text, Cure: cure})
}

// build parses the files that are there, checks each, and, if all could be
// parsed, checks them against each other.
func (l *loader) build(texts map[string][]byte) (*Config, error) {
	l.cfg.Lock = defaultLockGulm()
	l.plainSecrets = map[string]int{}
	whole := true
	for _, file := range fileOrder {
		text, ok := texts[file]
		if !ok {
			whole = false
			continue
		}
		root, faults := parseFile(file, text)
		if len(faults) > 0 {
			l.faults = append(l.faults, faults...)
			whole = false
			continue
		}
		if top := l.top(root); top != nil {
			l.read(file, top)
		} else {
			whole = false
		}
	}
	if whole {
		l.crossCheck()
	}
	if whole && len(l.faults) == 0 {
		l.checkPlans()
	}
	if len(l.faults) > 0 {
		return nil, &Faults{Dir: l.dir, List: sortFaults(l.faults)}
	}
	l.warnings = sortFaults(l.warnings)
	cfg := l.cfg
	cfg.warnings = l.warnings
	cfg.agree()
	return &cfg, nil
}

// read fills in the part of the configuration that a file holds.
func (l *loader) read(file string, top *section) {
	switch file {
	case ClusterFile:
		l.readCluster(top)
	case NodesFile:
		l.readNodes(top)
	case FenceFile:
		l.readDevices(top)
	}
}

// top returns the one section of a file, or nil after a fault.
func (l *loader) top(root *section) *section {
	want := topSection[root.file]
	for _, it := range root.items {
		if it.key == want {
			continue
		}
		home := ""
		for _, file := range fileOrder {
			if topSection[file] == it.key {
				home = file
			}
		}
		cure := didYouMean(it.key, []string{want}, fmt.Sprintf("this file holds only %s { ... }", want))
		if home != "" {
			cure = "move it to " + home
		}
		l.fault(root.file, it.line, fmt.Sprintf("%q does not belong here", it.key), cure)
	}
	found := root.sections(want)
	if len(found) == 0 {
		l.fault(root.file, 0, fmt.Sprintf("the file has no section %q", want), fmt.Sprintf("write %s { ... }", want))
		return nil
	}
	for _, again := range found[1:] {
		l.fault(root.file, again.line, fmt.Sprintf("the section %q is there twice, first on line %d", want, found[0].line),
			"put everything into one")
	}
	return found[0]
}

// handler is what to do with a known key: exactly one function is set.
type handler struct {
	value   func(it item)
	section func(s *section)
}

// walk hands the items of a section to their handlers and reports unknown
// keys, keys that are there twice, and values in the place of sections.
// The table old says what became of keys of other versions.
func (l *loader) walk(s *section, known map[string]handler, old map[string]string) {
	first := make(map[string]int, len(s.items))
	for _, it := range s.items {
		h, ok := known[it.key]
		if !ok {
			l.unknown(s, it, known, old)
			continue
		}
		if line, again := first[it.key]; again {
			l.fault(s.file, it.line, fmt.Sprintf("%q is set twice, first on line %d", it.key, line), "remove one of them")
			continue
		}
		first[it.key] = it.line
		switch {
		case h.section != nil && it.sec == nil:
			l.fault(s.file, it.line, fmt.Sprintf("%q is a section, not a value", it.key), fmt.Sprintf("write %s { ... }", it.key))
		case h.value != nil && it.sec != nil:
			l.fault(s.file, it.line, fmt.Sprintf("%q is a value, not a section", it.key), fmt.Sprintf("write %s = ...", it.key))
		case h.section != nil:
			h.section(it.sec)
		default:
			h.value(it)
		}
	}
}

// unknown reports a key that a section does not know.
func (l *loader) unknown(s *section, it item, known map[string]handler, old map[string]string) {
	if cure, ok := old[it.key]; ok {
		l.fault(s.file, it.line, fmt.Sprintf("the key %q of older versions is gone", it.key), cure)
		return
	}
	names := slices.Sorted(maps.Keys(known))
	cure := didYouMean(it.key, names, "known here: "+strings.Join(names, " "))
	l.fault(s.file, it.line, fmt.Sprintf("unknown key %q in %s", it.key, s.name), cure)
}

// has tells whether a section sets a key, in whichever way.
func (s *section) has(key string) bool {
	return slices.ContainsFunc(s.items, func(it item) bool { return it.key == key })
}

// seen remembers names that have to differ in more than case.
type seen map[string]seenName

type seenName struct {
	name string
	line int
}

// unique reports a name that was there before, and tells whether it is new.
func (l *loader) unique(before seen, file, kind, name string, line int) bool {
	fold := strings.ToLower(name)
	was, again := before[fold]
	if !again {
		before[fold] = seenName{name: name, line: line}
		return true
	}
	text := fmt.Sprintf("the %s %q is there twice, first on line %d", kind, name, was.line)
	if was.name != name {
		text = fmt.Sprintf("the %s %q differs only in case from %q on line %d", kind, name, was.name, was.line)
	}
	l.fault(file, line, text, "rename or remove one of them")
	return false
}

// str reads a string; ok is false after a fault.
func (l *loader) str(s *section, it item) (text string, ok bool) {
	if it.val.kind != kindString {
		cure := "write one string in quotes"
		if it.val.kind != kindArray {
			cure = fmt.Sprintf("put it in quotes: %s = %q", it.key, it.val.text)
		}
		l.wrongType(s, it, "a string", cure)
		return "", false
	}
	return it.val.text, true
}

// integer reads an integer between bounds; ok is false after a fault.
func (l *loader) integer(s *section, it item, low, high int) (n int, ok bool) {
	if it.val.kind != kindInt {
		l.wrongType(s, it, "an integer", fmt.Sprintf("write a whole number from %d to %d, without quotes", low, high))
		return 0, false
	}
	if it.val.num < int64(low) || it.val.num > int64(high) {
		l.fault(s.file, it.line, fmt.Sprintf("%s = %s is out of range", it.key, it.val.text),
			fmt.Sprintf("choose %d to %d", low, high))
		return 0, false
	}
	return int(it.val.num), true
}

// boolean reads yes or no in one of the spellings of the older versions, as a
// string or as an integer; ok is false after a fault.
func (l *loader) boolean(s *section, it item) (yes, ok bool) {
	switch it.val.kind {
	case kindInt:
		return it.val.num != 0, true
	case kindString:
		switch strings.ToLower(it.val.text) {
		case "y", "yes", "on", "true":
			return true, true
		case "n", "no", "off", "false":
			return false, true
		}
	}
	l.fault(s.file, it.line, fmt.Sprintf("%q must be yes or no", it.key), fmt.Sprintf(`write %s = "yes" or %s = "no"`, it.key, it.key))
	return false, false
}

// wrongType reports a value of another type than its key needs.
func (l *loader) wrongType(s *section, it item, want, cure string) {
	l.fault(s.file, it.line, fmt.Sprintf("%q must be %s, not %s", it.key, want, it.val.kind), cure)
}

// checkName reports a name that is too long or has characters that other
// places where it is used (certificates, file names, tables) could not take.
func (l *loader) checkName(file, kind, name string, line, longest int) {
	switch bad := strings.IndexFunc(name, badNameRune); {
	case name == "":
		l.fault(file, line, fmt.Sprintf("the %s is empty", kind), fmt.Sprintf("give it 1 to %d characters", longest))
	case len(name) > longest:
		l.fault(file, line, fmt.Sprintf("the %s %q has %d characters", kind, name, len(name)),
			fmt.Sprintf("give it 1 to %d", longest))
	case bad >= 0:
		l.fault(file, line, fmt.Sprintf("the %s %q holds a character that names must not have", kind, name),
			`use letters, digits, "_", "-" and "."`)
	}
}

func badNameRune(r rune) bool {
	return r > 0x7f || !isIdentByte(byte(r)) || r == '$'
}
