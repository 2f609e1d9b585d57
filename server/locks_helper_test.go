package server_test

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"

	"lock_gulmd/fence/sim"
	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// locks lists locks at the master.
func (w *world) locks(req *gulmv1.LocksRequest) ([]*gulmv1.Resource, error) {
	stream, err := w.admin(w.Master()).Locks(w.t.Context(), req)
	if err != nil {
		return nil, err
	}
	var out []*gulmv1.Resource
	_, err = drain(stream, func(r *gulmv1.LocksReply) { out = append(out, r.GetResources()...) })
	return out, err
}

// drain reads a stream to its end and returns how many messages it had.
func drain[T any](stream grpc.ServerStreamingClient[T], f func(*T)) (int, error) {
	for n := 0; ; n++ {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		f(m)
	}
}

// behaviourHang is a power switch that never answers.
var behaviourHang = sim.Behaviour{Hang: true}

// plain is a host's raft stream layer for addresses of the configuration.
type plain struct {
	raft.StreamLayer
	w *world
}

// Dial implements replica.StreamLayer.
func (p plain) Dial(address string, timeout time.Duration) (net.Conn, error) {
	for _, s := range p.w.Config.Servers() {
		if s.RaftAddr == address {
			address = s.Name + ":40041"
		}
	}
	return p.StreamLayer.Dial(raft.ServerAddress(address), timeout)
}
