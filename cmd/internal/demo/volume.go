package demo

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// volume is the shared storage of the recovery story, as a file system with
// journals has it: files of records, and one journal for each mount. A record is
// written to the journal first and then to its file, so a machine that dies in
// between leaves a record that the replay of its journal must bring home.
type volume struct{ dir string }

// intent is a record on its way to a file.
type intent struct {
	File string
	record
}

const intentFormat = "file=%s node=%s life=%d seq=%d token=%d"

func (v volume) file(name string) string { return filepath.Join(v.dir, "file-"+name) }
func (v volume) journal(jid int) string {
	return filepath.Join(v.dir, fmt.Sprintf("journal-%d", jid))
}

// begin notes a record in a journal.
func (v volume) begin(jid int, i intent) error {
	return appendLine(v.journal(jid), fmt.Sprintf(intentFormat, i.File, i.Node, i.Life, i.Seq, i.Token))
}

// store puts a record into its file.
func (v volume) store(i intent) error {
	d, err := openDisk(v.file(i.File))
	if err != nil {
		return err
	}
	defer d.file.Close()
	return d.append(i.record)
}

// write is begin and store, with something that may happen in between. The
// journal then has nothing more to bring home.
func (v volume) write(jid int, i intent, between func() error) error {
	if err := v.begin(jid, i); err != nil {
		return err
	}
	if err := between(); err != nil {
		return err
	}
	if err := v.store(i); err != nil {
		return err
	}
	return v.clean(jid)
}

// clean empties a journal.
func (v volume) clean(jid int) error {
	err := os.Truncate(v.journal(jid), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // never used
	}
	return err
}

// pending returns what a journal has to bring home.
func (v volume) pending(jid int) ([]intent, error) {
	var list []intent
	err := eachLine(v.journal(jid), func(line string) error {
		var i intent
		_, err := fmt.Sscanf(line, intentFormat, &i.File, &i.Node, &i.Life, &i.Seq, &i.Token)
		list = append(list, i)
		return err
	})
	return list, err
}

// replay brings home what stands in a journal and is in no file, and empties it.
// half is called when all is home and the journal not empty yet: whoever is
// stopped there leaves everything to be looked at once more. It returns how many
// records it brought home.
func (v volume) replay(jid int, half func() error) (int, error) {
	list, err := v.pending(jid)
	if err != nil {
		return 0, fmt.Errorf("journal %d is damaged: %w", jid, err)
	}
	home := 0
	for _, i := range list {
		there, err := v.holds(i)
		if err != nil {
			return home, err
		}
		if there {
			continue
		}
		if err := v.store(i); err != nil {
			return home, err
		}
		home++
	}
	if err := half(); err != nil {
		return home, err
	}
	return home, v.clean(jid)
}

// holds reports whether a record is in its file.
func (v volume) holds(i intent) (bool, error) {
	records, err := readRecords(v.file(i.File))
	return slices.Contains(records, i.record), err
}

// readRecords returns the records of a file, in the order in which they were
// written; none if it does not exist.
func readRecords(path string) ([]record, error) {
	var records []record
	err := eachLine(path, func(line string) error {
		var r record
		_, err := fmt.Sscanf(line, recordFormat, &r.Node, &r.Life, &r.Seq, &r.Token)
		if err != nil {
			return fmt.Errorf("record %d of the shared file is damaged: %q", len(records)+1, line)
		}
		records = append(records, r)
		return nil
	})
	return records, err
}

// eachLine calls yield for each line of a file, for none if it does not exist.
func eachLine(path string, yield func(string) error) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if err := yield(lines.Text()); err != nil {
			return err
		}
	}
	return lines.Err()
}

func appendLine(path, line string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	return errors.Join(err, f.Close())
}
