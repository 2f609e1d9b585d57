package gulmerr

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// released holds every reason that was ever released, in order. Append only.
const released = `TRY_FAILED CANCELED DEADLOCK BUSY NOT_HELD INVALID NO_LOCKSPACE IN_USE POLICY LIMIT OUT_OF_ORDER
NOT_MASTER NO_QUORUM NODE_EXPIRED NOT_FENCED STALE_INCARNATION NO_SESSION SESSION_TAKEN UNKNOWN_NODE WRONG_STATE
NOT_PENDING WRONG_CLUSTER BAD_CONFIG VERSION PERMISSION STALE_TERM LAST_QUORUM SHUTTING_DOWN UNAVAILABLE CORRUPT INTERNAL EXISTS TIMED_OUT NO_JOURNAL NOT_RECOVERING MOUNTED NOT_MOUNTED
FENCE_LIED PAUSED LEASE NO_PROOF`

func TestTable_IsAppendOnly(t *testing.T) {
	var have []string
	for _, row := range Table() {
		have = append(have, row.Reason)
	}
	want := strings.Fields(released)
	if strings.Join(have, " ") != strings.Join(want, " ") {
		t.Fatalf("reasons changed:\nhave %v\nwant %v", have, want)
	}
}

func TestTable_HoldsEverySentinelOnce(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	sentinels := 0
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			sentinels += len(v.Names)
		}
		return true
	})
	if sentinels != len(Table()) {
		t.Fatalf("errors.go declares %d sentinels, the table has %d rows", sentinels, len(Table()))
	}
	seen := map[string]bool{}
	for _, row := range Table() {
		if seen[row.Reason] || row.Code == codes.OK || row.Exit == ExitOK {
			t.Errorf("row %s is double or has no codes", row.Reason)
		}
		seen[row.Reason] = true
	}
}

func TestStatus_RoundTrip(t *testing.T) {
	for _, row := range Table() {
		wrapped := fmt.Errorf("node n1: %w", row.Err)
		back := FromStatus(ToStatus(wrapped))
		if !errors.Is(back, row.Err) {
			t.Errorf("%s: came back as %v", row.Reason, back)
		}
		if status.Code(back) != row.Code {
			t.Errorf("%s: code %v, want %v", row.Reason, status.Code(back), row.Code)
		}
		if back.Error() != wrapped.Error() {
			t.Errorf("%s: text %q, want %q", row.Reason, back, wrapped)
		}
		if ExitCode(back) != row.Exit {
			t.Errorf("%s: exit %d, want %d", row.Reason, ExitCode(back), row.Exit)
		}
	}
}

func TestStatus_NotMasterCarriesTheAddress(t *testing.T) {
	back := FromStatus(ToStatus(NotMaster("lk2", "10.9.0.12:40040")))
	if Meta(back, MetaMaster) != "lk2" || Meta(back, MetaAddress) != "10.9.0.12:40040" {
		t.Fatalf("metadata lost: %v", back)
	}
}

func TestStatus_UnknownErrorsHideTheirText(t *testing.T) {
	st := ToStatus(errors.New("password is hunter2"))
	if strings.Contains(st.Error(), "hunter2") || status.Code(st) != codes.Internal {
		t.Fatalf("text leaked: %v", st)
	}
}

func TestFromStatus_ForeignStatuses(t *testing.T) {
	for code, want := range map[codes.Code]error{
		codes.Unavailable: ErrUnavailable, codes.Canceled: context.Canceled,
		codes.DeadlineExceeded: context.DeadlineExceeded, codes.ResourceExhausted: ErrLimit,
		codes.Unknown: ErrInternal, codes.Unimplemented: ErrVersion,
	} {
		if got := FromStatus(status.Error(code, "x")); !errors.Is(got, want) {
			t.Errorf("%v became %v, want %v", code, got, want)
		}
	}
	if FromStatus(nil) != nil || ToStatus(nil) != nil || ExitCode(nil) != ExitOK {
		t.Error("nil must stay nil")
	}
}
