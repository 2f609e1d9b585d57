package demo

import (
	"fmt"
	"os"
)

// record is one line of the shared file.
type record struct {
	Node  string
	Life  int
	Seq   int
	Token uint64
}

const recordFormat = "node=%s life=%d seq=%d token=%d"

// disk is the shared file; every append is one write.
type disk struct{ file *os.File }

func openDisk(path string) (*disk, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return &disk{f}, nil
}

func (d *disk) append(r record) error {
	_, err := fmt.Fprintf(d.file, recordFormat+"\n", r.Node, r.Life, r.Seq, r.Token)
	return err
}

// verdict is what the check of the shared file found.
type verdict struct {
	Records int `json:"records"`
	// Unprotected records were written although the lock had been handed on: a
	// later holder, with a higher token, had written before them.
	Unprotected int `json:"unprotected"`
	// Gaps are records that a node wrote and that are not in the file.
	Gaps int `json:"gaps"`
	// Examples are the first unprotected records.
	Examples []string `json:"examples,omitempty"`
}

// checkDisk reads the shared file in the order in which it was written.
func checkDisk(path string) (verdict, error) {
	var v verdict
	if _, err := os.Stat(path); err != nil {
		return v, err
	}
	records, err := readRecords(path)
	var newest record
	last := map[string]int{}
	for _, r := range records {
		v.Records++
		key := fmt.Sprintf("%s/%d", r.Node, r.Life)
		if r.Seq != last[key]+1 {
			v.Gaps++
		}
		last[key] = r.Seq
		if r.Token < newest.Token || r.Token == newest.Token && r.Node != newest.Node {
			v.Unprotected++
			if len(v.Examples) < 3 {
				v.Examples = append(v.Examples, fmt.Sprintf("%s wrote with token %d after %s had written with token %d",
					r.Node, r.Token, newest.Node, newest.Token))
			}
			continue
		}
		newest = r
	}
	return v, err
}
