//go:build unix

package entrance

import "golang.org/x/sys/unix"

// openFiles is how many files this process may have open. Go has raised that to the hard limit by now.
func openFiles() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return unlimited
	}
	return int(min(uint64(limit.Cur), unlimited))
}
