package ccs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Where Find looks when no folder is named on the command line.
const (
	// EnvDir is the environment variable that names the folder.
	EnvDir = "GULM_CONFIG"
	// DefaultDir is the folder that is used if nothing names another.
	DefaultDir = "/etc/gulm"
)

// ErrNotFound tells that there is no configuration where Find looked.
var ErrNotFound = errors.New("no cluster configuration found")

// Find says which folder holds the configuration: the one of the flag
// --config, else that of the environment variable GULM_CONFIG, else /etc/gulm.
// The first one that is named counts; if it holds no cluster.ccs, no other is
// tried. Source says who named it, for messages. The error wraps [ErrNotFound]
// and says in a few lines what was looked at and what to do.
func Find(flag string) (dir, source string, err error) {
	return find(flag, os.Getenv(EnvDir), DefaultDir)
}

func find(flag, env, fallback string) (dir, source string, err error) {
	flagSays, envSays, fallbackSays := "not given", "not set", "not looked at"
	says := &fallbackSays
	switch {
	case flag != "":
		dir, source, says, envSays = flag, "--config", &flagSays, "not looked at"
	case env != "":
		dir, source, says = env, EnvDir, &envSays
	default:
		dir, source = fallback, "default"
	}
	dir = filepath.Clean(dir)
	problem := lookInto(dir)
	if problem == "" {
		return dir, source, nil
	}
	*says = dir + ": " + problem
	if dir == fallback && source == "default" {
		*says = problem
	}
	return "", "", fmt.Errorf(`%w
  --config       %s
  %s    %s
  %-13s  %s
put %s, %s and %s into %s,
or name their folder with --config DIR or %s=DIR`,
		ErrNotFound, flagSays, EnvDir, envSays, fallback, fallbackSays,
		ClusterFile, NodesFile, FenceFile, fallback, EnvDir)
}

// lookInto says why a folder holds no configuration, or "" if it does.
func lookInto(dir string) string {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such folder"
	case err != nil:
		return reason(err)
	case !info.IsDir():
		return "is a file; name the folder that it is in"
	}
	_, err = os.Stat(filepath.Join(dir, ClusterFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "holds no " + ClusterFile
	case err != nil:
		return reason(err)
	}
	return ""
}

// reason strips the operation and the path from an error of a file.
func reason(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}
