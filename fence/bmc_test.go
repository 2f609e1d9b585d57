package fence_test

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/hal"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/transport/udp"
	"github.com/bougou/go-ipmi/pkg/types"

	"lock_gulmd/fence"
)

// ipmilan is the stock agent of the fence-agents project.
const ipmilan = "fence_ipmilan"

// board is a machine with a management controller that speaks IPMI 2.0 over the
// network. Its power is a real process group: off is SIGKILL, on starts another.
type board struct {
	hal.HAL
	hal.ChassisHAL
	t    *testing.T
	port string

	mu      sync.Mutex
	machine *exec.Cmd
	stuck   bool // off does nothing, and says that it did
	history []string
}

// newBoard starts a machine and its controller on a free loopback port.
func newBoard(t *testing.T) *board {
	t.Helper()
	if testing.Short() {
		t.Skip("runs the stock agent for seconds")
	}
	if _, err := exec.LookPath(ipmilan); err != nil {
		t.Skip("fence_ipmilan is not installed: apt-get install fence-agents ipmitool")
	}
	if _, err := exec.LookPath("ipmitool"); err != nil {
		t.Skip("ipmitool is not installed: apt-get install ipmitool")
	}
	m := mock.New()
	b := &board{HAL: m, ChassisHAL: m.Chassis(), t: t}
	controller := bmc.New(bmc.DeviceInfo{DeviceID: 32, DeviceRevision: 1, FirmwareMajor: 1, IPMIVersion: 0x20}, [16]byte{1}, b,
		bmc.WithCipherSuites([]types.CipherSuiteID{3, 17}))
	user, err := controller.Users.Add(2, "admin")
	if err != nil {
		t.Fatal(err)
	}
	user.SetPassword([]byte("s3cret-4711"))
	user.Enabled = true
	user.ChannelAccess[1] = bmc.UserChannelAccess{MaxPrivilege: bmc.PrivilegeLevelAdministrator, Enabled: true}
	conn, err := udp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, b.port, err = net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	srv := server.NewServer(controller, conn)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ctx) })
	t.Cleanup(func() {
		cancel()
		_ = srv.Close()
		_ = conn.Close()
		wg.Wait()
		b.mu.Lock()
		defer b.mu.Unlock()
		b.stop()
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.start()
	return b
}

// Chassis implements hal.HAL.
func (b *board) Chassis() hal.ChassisHAL { return b }

// PowerState implements hal.ChassisHAL.
func (b *board) PowerState(context.Context) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.machine != nil, nil
}

// SetPower implements hal.ChassisHAL.
func (b *board) SetPower(_ context.Context, on bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.stuck:
		b.history = append(b.history, "stuck")
	case on && b.machine == nil:
		b.history = append(b.history, "on")
		b.start()
	case !on && b.machine != nil:
		b.history = append(b.history, "off")
		b.stop()
	}
	return nil
}

func (b *board) start() {
	b.machine = exec.Command("/bin/sleep", "1000")
	b.machine.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := b.machine.Start(); err != nil {
		b.t.Error(err)
		b.machine = nil
	}
}

func (b *board) stop() {
	if b.machine == nil {
		return
	}
	_ = syscall.Kill(-b.machine.Process.Pid, syscall.SIGKILL)
	_ = b.machine.Wait()
	b.machine = nil
}

func (b *board) pid() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.machine == nil {
		return 0
	}
	return b.machine.Process.Pid
}

func (b *board) switched() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.history, " ")
}

func (b *board) step(action string, more ...fence.Param) fence.Step {
	return fence.Step{
		Device: "bmc", Agent: ipmilan, Timeout: 40 * time.Second,
		Params: append([]fence.Param{
			{Key: "ip", Value: "127.0.0.1"},
			{Key: "ipport", Value: b.port},
			{Key: "username", Value: "admin"},
			{Key: "password", Value: "s3cret-4711"},
			{Key: "lanplus", Value: "1"},
			{Key: "cipher", Value: "3"},
			{Key: "power_wait", Value: "0"},
			{Key: "power_timeout", Value: "4"},
			{Key: "action", Value: action},
		}, more...),
	}
}

func plan(steps ...fence.Step) fence.Plan {
	return fence.Plan{Node: "n1", Methods: []fence.Method{{Name: "power", Steps: steps}}}
}

// TestStockAgentFencesARealProcess: the real fence_ipmilan over real IPMI: the
// machine that ran is dead when the fence is said to have succeeded, and a new one
// runs after a reboot.
func TestStockAgentFencesARealProcess(t *testing.T) {
	for _, action := range []string{"reboot", "off"} {
		b := newBoard(t)
		old := b.pid()
		var seen []string
		report, err := (&fence.Runner{Supervisor: fence.SelfSupervisor}).Run(t.Context(), plan(b.step(action)), fence.Hooks{
			Seen:  func(x fence.Sighting) { seen = append(seen, string(x.Power)) },
			Trust: func(fence.Outlet) fence.Trust { return fence.TrustUnknown },
		})
		if err != nil || !report.Fenced {
			t.Fatalf("%s: %v", action, err)
		}
		if err := syscall.Kill(old, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("%s: the machine still runs: %v", action, err)
		}
		wantSeen, wantSwitched := []string{"on"}, "off on"
		if action == "off" {
			wantSeen, wantSwitched = []string{"on", "off"}, "off"
		}
		if !slices.Equal(seen, wantSeen) || b.switched() != wantSwitched || (b.pid() != 0) != (action == "reboot") {
			t.Errorf("%s: saw %q, switched %q, machine %d", action, seen, b.switched(), b.pid())
		}
	}
}

// TestStockAgentAndAPowerThatSticks: a controller that says done and does nothing
// is found out, and what it was asked for may still come.
func TestStockAgentAndAPowerThatSticks(t *testing.T) {
	b := newBoard(t)
	b.mu.Lock()
	b.stuck = true
	b.mu.Unlock()
	old := b.pid()
	report, err := (&fence.Runner{Supervisor: fence.SelfSupervisor}).Run(t.Context(), plan(b.step("off")), fence.Hooks{})
	if !errors.Is(err, fence.ErrNotFenced) || len(report.Attempts) != 1 || !report.Attempts[0].Late {
		t.Errorf("%v, attempts %+v", err, report.Attempts)
	}
	if b.pid() != old {
		t.Error("the machine was switched off")
	}
}

// TestStockAgentAndAnOutletThatWasOff: an off machine that nobody has ever seen on
// proves nothing, with a known one it does; a rehearsal says what there is.
func TestStockAgentAndAnOutletThatWasOff(t *testing.T) {
	b := newBoard(t)
	r := &fence.Runner{Supervisor: fence.SelfSupervisor}
	rehearse := func() (said string) {
		if err := r.Rehearse(t.Context(), plan(b.step("reboot")), func(x fence.Sighting) { said += string(x.Power) }); err != nil {
			t.Error(err)
		}
		return said
	}
	if said := rehearse(); said != "on" {
		t.Errorf("a running machine is %q", said)
	}
	_ = b.SetPower(t.Context(), false)
	if said := rehearse(); said != "off" {
		t.Errorf("a machine that is off is %q", said)
	}
	trust := fence.TrustUnknown
	hooks := fence.Hooks{Trust: func(fence.Outlet) fence.Trust { return trust }}
	if report, err := r.Run(t.Context(), plan(b.step("off")), hooks); err == nil || report.Attempts[0].Outcome != fence.OutcomeNotBelieved {
		t.Errorf("%v, %+v", err, report.Attempts)
	}
	trust = fence.TrustSeen
	if _, err := r.Run(t.Context(), plan(b.step("off")), hooks); err != nil {
		t.Error(err)
	}
}

// TestStockAgentWithAWrongPassword: refused, and the password is nowhere.
func TestStockAgentWithAWrongPassword(t *testing.T) {
	b := newBoard(t)
	s := b.step("off")
	for i := range s.Params {
		if s.Params[i].Key == "password" {
			s.Params[i].Value = "wr0ng-4712"
		}
	}
	report, err := (&fence.Runner{Supervisor: fence.SelfSupervisor}).Run(t.Context(), plan(s), fence.Hooks{})
	if err == nil || b.switched() != "" {
		t.Errorf("%v, switched %q", err, b.switched())
	}
	for _, a := range report.Attempts {
		if strings.Contains(a.Tail+a.Reason, "wr0ng") {
			t.Errorf("the password is in %+v", a)
		}
	}
}
