package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/cmd/fairlead/entrance"
)

// A reloader puts changed settings in force without dropping anyone. Its methods
// are for one goroutine.
type reloader struct {
	running  *config
	guard    *guard
	level    *slog.LevelVar
	sources  *sources // of the start: their arguments and environment still count
	node     *node
	entrance *entrance.Entrance
	log      *slog.Logger
}

// reloadable tells whether the setting can change in a running gateway.
func reloadable(key string) bool {
	switch {
	case strings.HasPrefix(key, "auth."), strings.HasPrefix(key, "limits."):
		return true
	default:
		return slices.Contains([]string{"origins", "insecure", "trusted_proxy", "forwarded_header", "log.level"}, key)
	}
}

// run reloads on each hangup until ctx is done. It calls end when the terminal is gone.
func (r *reloader) run(ctx context.Context, h *hangup, end func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.signals:
		}
		if h.ends() {
			r.log.Info("the terminal is closed")
			end()
			return
		}
		r.reload()
	}
}

// reload reads all settings again. On an error the old ones stay in force.
func (r *reloader) reload() {
	if err := r.reloadSettings(); err != nil {
		for line := range strings.Lines(err.Error()) {
			r.log.Error("the settings are not reloaded, and the old ones stay in force", "error", strings.TrimSpace(line))
		}
	}
	if err := r.entrance.ReloadCertificate(); err != nil {
		r.log.Error("the certificate is not reloaded, and the old one goes on", "error", err)
	}
}

func (r *reloader) reloadSettings() error {
	next, sources, err := r.sources.again()
	if err != nil {
		return err
	}
	if err := next.check(sources.originOf).err(); err != nil {
		return err
	}
	merged := *r.running
	changed, waiting := r.merge(&merged, next)
	report := merged.check(sources.originOf)
	if err := report.err(); err != nil {
		return fmt.Errorf("without a restart, which %s need: %w", strings.Join(waiting, ", "), err)
	}
	guard, err := merged.openGuard(r.guard.verifier, sources.originOf, r.log)
	if err != nil {
		return err
	}
	if guard.sameAs(r.guard) { // a key set that was fetched stays
		guard.close()
		guard = r.guard
	} else if !slices.ContainsFunc(changed, func(key string) bool { return strings.HasPrefix(key, "auth.") }) {
		changed = append(changed, "auth: files")
	}
	if err := r.node.reload(merged.gateway(guard.verifier, r.log)); err != nil {
		if guard != r.guard {
			guard.close()
		}
		return err
	}
	r.entrance.Reload(merged.entrance(r.log))
	if guard != r.guard {
		r.guard.close()
	}
	r.running, r.guard = &merged, guard
	r.level.Set(merged.level())
	report.log(r.log)
	r.log.Info("the settings are reloaded", "changed", changed, "open", merged.open())
	if len(waiting) > 0 {
		r.log.Warn("some settings have changed, and stay as they were until a restart", "settings", waiting)
	}
	return nil
}

// merge puts the settings of next that can change into merged, and returns the
// keys of those that have, and of the others that have changed.
func (r *reloader) merge(merged, next *config) (changed, waiting []string) {
	eachSetting(reflect.ValueOf(merged).Elem(), reflect.ValueOf(next).Elem(), func(key string, old, new reflect.Value) {
		switch {
		case reflect.DeepEqual(old.Interface(), new.Interface()):
		case reloadable(key):
			old.Set(new)
			changed = append(changed, key)
		default:
			waiting = append(waiting, key)
		}
	})
	return changed, waiting
}

// eachSetting visits each setting of two structs of the same settings.
func eachSetting(one, other reflect.Value, visit func(key string, one, other reflect.Value)) {
	for i := range one.NumField() {
		if key := one.Type().Field(i).Tag.Get("key"); key != "" {
			visit(key, one.Field(i), other.Field(i))
		} else {
			eachSetting(one.Field(i), other.Field(i), visit)
		}
	}
}

// again is the settings that the same arguments give now.
func (s *sources) again() (*config, *sources, error) {
	next, now := new(program), &sources{args: s.args, env: s.env}
	command, err := parse(next, now, stdio{nil, io.Discard, io.Discard})
	if err == nil && command == nil {
		err = errors.New("the arguments ask for help")
	}
	return &next.Serve.config, now, err
}
