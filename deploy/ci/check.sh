#!/usr/bin/env bash
# The gate: everything that has to pass before a change goes in.
#
#   deploy/ci/check.sh          all steps
#   deploy/ci/check.sh quick    without the race detector, benchmarks and demo
#
# Every step runs, even after one has failed; the end names those that failed.
# It changes nothing in the tree. It needs Go and, for the race detector, gcc.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
export GOFLAGS=-buildvcs=false GOWORK=off

quick=no
case "${1-}" in
"") ;;
quick) quick=yes ;;
*)
	echo "usage: deploy/ci/check.sh [quick]" >&2
	exit 2
	;;
esac

failed=()

# step TITLE COMMAND...: runs the command and remembers if it failed.
step() {
	local title=$1 start=$SECONDS
	shift
	echo
	echo "=== $title: $*"
	if "$@"; then
		echo "--- ok: $title ($((SECONDS - start)) s)"
	else
		echo "--- FAILED: $title ($((SECONDS - start)) s)"
		failed+=("$title")
	fi
}

# Generated code keeps the form that its generator gave it.
formatted() {
	local files
	files=$(go tool gofumpt -l .) || return 1
	files=$(grep -v '\.pb\.go$' <<<"$files" || true)
	if [[ -n $files ]]; then
		echo "not formatted; run go tool gofumpt -w on:"
		echo "$files"
		return 1
	fi
}

# What git sees in the tree: a step that leaves something behind shows up here.
# Nothing where there is no git repository, as in an unpacked source archive.
tree() {
	if [[ -e .git ]]; then
		git -c safe.directory="$root" status --porcelain --untracked-files=all
	fi
}

unchanged() {
	local after
	after=$(tree) || return 1
	if [[ $after != "$before" ]]; then
		echo "the steps changed the tree:"
		diff <(echo "$before") <(echo "$after") || true
		return 1
	fi
}

# raced lists the packages that the race detector is for. The pure ones below
# server/state have no goroutine that it could watch, which TestPure holds; what
# they compute is tested above, without being slowed down.
raced() {
	go list ./... | grep -vE '^lock_gulmd/server/(reason|lock|member|journal)$'
}

with_race() {
	local packages
	mapfile -t packages < <(raced)
	((${#packages[@]})) || return 1
	CGO_ENABLED=1 go test -race -short -count=1 -timeout 15m "${packages[@]}"
}

before=$(tree)

step "format" formatted
step "vet" go vet ./...
step "staticcheck" go tool staticcheck ./...
step "go.mod is tidy" go mod tidy -diff
step "generated code is current" go run ./deploy/tools/protogen -check
step "build" go build ./...
step "tests" go test ./...
step "invariants after every step" go test -short -tags invariants ./server/lock ./server/state

if [[ $quick == no ]]; then
	step "twins, 1,000,000 operations" go test ./server/lock -count=1 -timeout 20m \
		-run '^(TestTwin_bulk|TestRangeTwin_bulk|TestRangeSpace_twin)$' -operations 1000000 -range-operations 1000000
	# The long runs of random operations are for the step above.
	step "tests with the race detector" with_race
	step "simulation, 200 schedules" go test ./server/gulmtest -count=1 -timeout 15m -run '^TestSimulation$' -schedules 200 -v
	step "every benchmark once" go test -run '^$' -bench . -benchtime 1x ./...
	step "demo, end to end" go run ./cmd/gulm_tool demo --show-lease
	step "demo of the journals" go run ./cmd/gulm_tool demo --story recovery
fi

step "nothing left behind" unchanged

echo
if ((${#failed[@]})); then
	printf '!!! FAILED: %s\n' "${failed[@]}"
	exit 1
fi
echo "all steps passed in $SECONDS s"
