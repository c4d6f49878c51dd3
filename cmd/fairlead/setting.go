package main

import (
	"fmt"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/alecthomas/kong"

	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// A settingError says which setting is wrong, where it came from, and what to
// do. Its value is as it may be shown.
type settingError struct {
	key, value, origin, advice string
}

func (e *settingError) Error() string {
	return fmt.Sprintf("%s is %q, from %s: %s", e.key, e.value, e.origin, e.advice)
}

// given is a setting's text with where it stood.
type given struct{ text, origin string }

// settingMapper decodes every setting of config, from whatever source, so that
// all of them are checked by the same rules and answered with the same errors,
// which it leaves with the sources: all mistakes are told at once.
type settingMapper struct{ sources *sources }

// IsBoolFromValue implements kong.BoolMapperExt: such a flag may stand without a value.
func (settingMapper) IsBoolFromValue(v reflect.Value) bool { return v.Kind() == reflect.Bool }

// Decode implements kong.Mapper.
func (m settingMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	if target.Kind() == reflect.Bool && ctx.Scan.Peek().Type != kong.FlagValueToken {
		target.SetBool(true) // a flag by itself
		return nil
	}
	token, err := ctx.Scan.PopValue("value")
	if err != nil {
		return err
	}
	value, ok := token.Value.(given)
	if !ok {
		value = given{fmt.Sprint(token.Value), "--" + ctx.Value.Name}
	}
	tag := ctx.Value.Tag
	rule := rule{min: tag.Get("min"), max: tag.Get("max"), oneof: tag.Get("oneof"), form: tag.Get("form")}
	parsed, err := rule.parse(target.Interface(), value.text)
	if err != nil {
		shown := shown(target.Interface(), value.text, tag.Get("form"))
		m.sources.mistaken(&settingError{key: tag.Get("key"), value: shown, origin: value.origin, advice: "it must be " + err.Error()})
		return nil
	}
	if parsed := reflect.ValueOf(parsed); parsed.Kind() == reflect.Slice {
		target.Set(reflect.AppendSlice(target, parsed)) // one flag after the other
	} else {
		target.Set(parsed)
	}
	return nil
}

// shown is a setting's text as it may be shown. like is a value of the setting's type.
func shown(like any, text, form string) string {
	if _, is := like.(secret); is && text != "" {
		return hidden
	}
	if form == "nats" || form == "jwks" {
		return shownURLs(text)
	}
	return text
}

// rule is what a setting may be.
type rule struct{ min, max, oneof, form string }

// parse returns text as a value of like's type. Its error is what is allowed.
func (r rule) parse(like any, text string) (any, error) {
	switch like.(type) {
	case string:
		return text, r.checkText(text)
	case bool:
		on, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("true or false")
		}
		return on, nil
	case secret:
		return parseSecret(text)
	case networks:
		return parseNetworks(text)
	case list:
		l := parseList(text)
		return l, r.checkList(l)
	case int:
		return within(r, text, strconv.Atoi, "a whole number", "")
	case size:
		return within(r, text, parseSize, "a size", ", such as 64MiB, 1GB or plain bytes")
	case time.Duration:
		return within(r, text, time.ParseDuration, "a duration", ", such as 90s or 24h")
	default:
		panic(fmt.Sprintf("no rule for settings of type %T", like))
	}
}

// within is text as parse has it, if that lies within the rule's bounds.
func within[T int | size | time.Duration](r rule, text string, parse func(string) (T, error), what, example string) (T, error) {
	low, lowErr := parse(r.min)
	high, highErr := parse(r.max)
	if lowErr != nil || highErr != nil {
		panic("a setting's min and max must be of its type")
	}
	value, err := parse(text)
	if err != nil || value < low || value > high {
		return 0, fmt.Errorf("%s from %s to %s%s", what, r.min, r.max, example)
	}
	return value, nil
}

func (r rule) checkText(text string) error {
	if r.oneof != "" {
		allowed := strings.Split(r.oneof, ",")
		if slices.Contains(allowed, text) {
			return nil
		}
		return fmt.Errorf("%s", strings.Join(allowed, " or "))
	}
	return forms[r.form](text)
}

// checkList looks at each text of a list.
func (r rule) checkList(l list) error {
	for _, text := range l {
		if err := r.checkText(text); err != nil {
			return err
		}
	}
	if r.form == "pattern" && len(l) > auth.MaxPatterns {
		return fmt.Errorf("at most %d patterns: wildcards make few of many", auth.MaxPatterns)
	}
	return nil
}

// forms are the texts that have a grammar of their own. Their errors are what is allowed.
var forms = map[string]func(string) error{
	"address": func(s string) error {
		_, port, err := net.SplitHostPort(s)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			return fmt.Errorf("host:port with a port from 0 to 65535, such as 127.0.0.1:8080 or [::1]:8080; without a host it is every address")
		}
		return nil
	},
	"path": func(s string) error {
		if strings.TrimSpace(s) == "" || strings.ContainsRune(s, 0) {
			return fmt.Errorf("a directory, such as ./fairlead-data")
		}
		return nil
	},
	"file":   checkFile,
	"domain": checkDomain,
	"email":  checkEmail,
	"https":  checkHTTPS,
	"text": func(s string) error {
		if strings.TrimSpace(s) != s || strings.ContainsFunc(s, unicode.IsControl) {
			return fmt.Errorf("text without control characters, and without spaces around it")
		}
		return nil
	},
	"pattern": func(s string) error {
		if err := protocol.CheckPattern(s); err != nil {
			return fmt.Errorf("patterns of channels, such as chat.* or news.> (%s: %s)", s, protocol.ErrorFrom(err).Message)
		}
		return nil
	},
	"origin": checkOrigin,
	"jwks": func(s string) error {
		u, err := url.Parse(s)
		if s == "" || err == nil && (u.Scheme == "https" && u.Host != "" || u.Scheme == "http" && isLocalHost(u.Hostname())) {
			return nil
		}
		return fmt.Errorf("empty, or an https URL, such as https://login.example.com/.well-known/jwks.json: whoever is on the way could put keys of their own there")
	},
	"nats": func(s string) error {
		if s == "" {
			return nil
		}
		for part := range strings.SplitSeq(s, ",") {
			u, err := url.Parse(strings.TrimSpace(part))
			if err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls" && u.Scheme != "ws" && u.Scheme != "wss" {
				return fmt.Errorf("empty, or URLs of nats://, tls://, ws:// or wss:// with commas between them, such as nats://127.0.0.1:4222")
			}
		}
		return nil
	},
	"stream": func(s string) error {
		if protocol.CheckSession(s) != nil || s == "" { // the same alphabet and length
			return fmt.Errorf("1 to %d of A-Z a-z 0-9 _ -", protocol.MaxSession)
		}
		return nil
	},
	"prefix": func(s string) error {
		if protocol.CheckChannel(s) != nil || strings.Count(s, ".") > 3 {
			return fmt.Errorf("1 to 4 tokens of A-Z a-z 0-9 _ : @ = + ~ - with dots between them, such as ch")
		}
		return nil
	},
}
