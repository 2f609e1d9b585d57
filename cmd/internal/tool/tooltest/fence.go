package tooltest

import (
	"context"

	gulmv1 "lock_gulmd/proto/gulm/v1"
)

// Fences implements AdminService.
func (s *Server) Fences(_ context.Context, req *gulmv1.FencesRequest) (*gulmv1.FencesReply, error) {
	err := s.serve("Fences", req)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.script.Fences, err
}

// RehearseFence implements AdminService.
func (s *Server) RehearseFence(_ context.Context, req *gulmv1.RehearseFenceRequest) (*gulmv1.RehearseFenceReply, error) {
	err := s.serve("RehearseFence", req)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.script.Rehearsal, err
}

// RecordFence implements AdminService.
func (s *Server) RecordFence(_ context.Context, req *gulmv1.RecordFenceRequest) (*gulmv1.RecordFenceReply, error) {
	return &gulmv1.RecordFenceReply{}, s.serve("RecordFence", req)
}
