package gulmerr

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Domain marks our ErrorInfo among other people's.
const Domain = "gulm"

// Keys of the metadata that errors carry.
const (
	// MetaMaster names the master, with ErrNotMaster.
	MetaMaster = "master"
	// MetaAddress is the master's address for nodes and tools, with ErrNotMaster.
	MetaAddress = "address"
	// MetaIncarnation is the life of the node that is in the way of a login, with
	// ErrStaleIncarnation and ErrNotFenced.
	MetaIncarnation = "incarnation"
)

// Error is a sentinel with its story: what happened to whom, and data for
// programs. It wraps the sentinel, so errors.Is finds it.
type Error struct {
	// Sentinel is one of this package's errors.
	Sentinel error
	// Message says more than the sentinel for a person; may be empty.
	Message string
	// Meta is for programs; keys are the Meta constants. May be nil.
	Meta map[string]string
}

// Error returns the message, or the sentinel's text if there is none.
func (e *Error) Error() string {
	if e.Message == "" {
		return e.Sentinel.Error()
	}
	return e.Message
}

// Unwrap returns the sentinel.
func (e *Error) Unwrap() error { return e.Sentinel }

// New returns an *Error of the sentinel with a formatted message, which should
// name its subject and what to do.
func New(sentinel error, format string, args ...any) *Error {
	return &Error{Sentinel: sentinel, Message: fmt.Sprintf(format, args...)}
}

// NotMaster tells the caller where the master is; both may be empty.
func NotMaster(master, address string) *Error {
	e := &Error{Sentinel: ErrNotMaster, Meta: map[string]string{}}
	if master == "" {
		e.Message = "this server is not the master and knows none at the moment"
		return e
	}
	e.Message = "this server is not the master, " + master + " at " + address + " is"
	e.Meta[MetaMaster], e.Meta[MetaAddress] = master, address
	return e
}

// Meta returns the metadata value of the first *Error in err's chain, or "".
func Meta(err error, key string) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Meta[key]
	}
	return ""
}

// Lookup returns the row of the sentinel that err wraps, and false when it
// wraps none.
func Lookup(err error) (Entry, bool) {
	for _, row := range table {
		if errors.Is(err, row.Err) {
			return row, true
		}
	}
	return Entry{}, false
}

// FromReason returns the sentinel of a reason that came over the wire;
// ErrInternal for one that this version does not know.
func FromReason(reason string) error {
	for _, row := range table {
		if row.Reason == reason {
			return row.Err
		}
	}
	return ErrInternal
}

// ToStatus returns err as a gRPC status error with our ErrorInfo. Errors that
// are not of this package become a bare INTERNAL: their text stays in the
// server's log. nil stays nil.
func ToStatus(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) {
		return status.Error(codes.Canceled, "cancelled")
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = &Error{Sentinel: ErrUnavailable, Message: "no answer within the time limit"}
	}
	row, known := Lookup(err)
	text := err.Error()
	if !known {
		row, _ = Lookup(ErrInternal)
		text = ErrInternal.Error()
	}
	info := &errdetails.ErrorInfo{Reason: row.Reason, Domain: Domain}
	var e *Error
	if errors.As(err, &e) {
		info.Metadata = e.Meta
	}
	st, detailErr := status.New(row.Code, text).WithDetails(info)
	if detailErr != nil {
		return status.Error(row.Code, text)
	}
	return st.Err()
}

// FromStatus turns the error of a gRPC call into one that errors.Is understands:
// our reason if there is one, ErrUnavailable for a connection that failed, the
// context's error for a call that was given up, else ErrInternal. The result
// wraps err, so status.Code still works on it. nil stays nil.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == Domain {
			return &remote{Error{FromReason(info.GetReason()), st.Message(), info.GetMetadata()}, err}
		}
	}
	switch st.Code() {
	case codes.Canceled:
		return &remote{Error{context.Canceled, st.Message(), nil}, err}
	case codes.DeadlineExceeded:
		return &remote{Error{context.DeadlineExceeded, st.Message(), nil}, err}
	case codes.Unavailable:
		return &remote{Error{ErrUnavailable, st.Message(), nil}, err}
	case codes.ResourceExhausted:
		return &remote{Error{ErrLimit, st.Message(), nil}, err}
	case codes.Unimplemented:
		return &remote{Error{ErrVersion, st.Message(), nil}, err}
	default:
		return &remote{Error{ErrInternal, st.Message(), nil}, err}
	}
}

// remote is an Error that came over the wire; it keeps the status beside it.
type remote struct {
	told   Error
	status error
}

func (r *remote) Error() string { return r.told.Error() }

// Unwrap lets errors.Is and errors.As find our error as well as the status.
func (r *remote) Unwrap() []error { return []error{&r.told, r.status} }

// GRPCStatus lets status.FromError find the status.
func (r *remote) GRPCStatus() *status.Status { return status.Convert(r.status) }

// ExitCode returns the exit code for a command that ends with err.
func ExitCode(err error) int {
	switch row, ok := Lookup(err); {
	case err == nil:
		return ExitOK
	case ok:
		return row.Exit
	case errors.Is(err, context.DeadlineExceeded):
		return ExitNoQuorum
	default:
		return ExitFailed
	}
}
