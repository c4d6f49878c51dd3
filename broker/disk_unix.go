//go:build unix

package broker

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// freeBytes is the room that an unprivileged process has on dir's file system.
func freeBytes(dir string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("look at the room in %s: %w", dir, err)
	}
	return int64(fs.Bavail) * int64(fs.Bsize), nil
}
