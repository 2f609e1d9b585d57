package lock

import "testing"

// bytesSource reads choices from data, and chooses 0 when it ends.
func bytesSource(data *[]byte) source {
	return func(n int) int {
		value := 0
		for range (bitsOf(n) + 7) / 8 {
			if len(*data) == 0 {
				return 0
			}
			value = value<<8 | int((*data)[0])
			*data = (*data)[1:]
		}
		return value % n
	}
}

func bitsOf(n int) int {
	bits := 0
	for ; n > 1; n = (n + 1) / 2 {
		bits++
	}
	return bits
}

// FuzzCommands turns bytes into operations, possible and impossible ones, and
// compares the engines and checks the table after each.
func FuzzCommands(f *testing.F) {
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		w := newTwins()
		prepare(w, crowded)
		for pick := bytesSource(&data); len(data) > 0; {
			o := chooseOp(pick, crowded, w.real)
			err := w.do(o)
			if err == nil {
				err = w.compare()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}
