package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// A Code names an error to a client (PROTOCOL.md 2.3).
type Code string

// The codes. One table, codes, maps each to its HTTP status and WebSocket close code.
const (
	BadRequest           Code = "bad_request"
	Unauthorized         Code = "unauthorized" // no token, or one that is no good
	Expired              Code = "expired"      // the token was good once: get another
	Forbidden            Code = "forbidden"    // the token is good, but not for this
	NotFound             Code = "not_found"
	MethodNotAllowed     Code = "method_not_allowed"
	Timeout              Code = "timeout"
	Gone                 Code = "gone"
	TooLarge             Code = "too_large"
	HeaderTooLarge       Code = "header_too_large" // of HTTP (RFC 6585, section 5)
	UnsupportedMediaType Code = "unsupported_media_type"
	RateLimited          Code = "rate_limited"
	Internal             Code = "internal"
	Unavailable          Code = "unavailable"
)

var codes = map[Code]struct{ status, closeCode int }{
	BadRequest:           {400, 4400},
	Unauthorized:         {401, 4401},
	Expired:              {401, 4419}, // its own close code: a client that sees no more than that still knows that a new token will do
	Forbidden:            {403, 4403},
	NotFound:             {404, 4404},
	MethodNotAllowed:     {405, 4405},
	Timeout:              {408, 4408},
	Gone:                 {410, 4410},
	TooLarge:             {413, 1009},
	HeaderTooLarge:       {431, 1009},
	UnsupportedMediaType: {415, 4415},
	RateLimited:          {429, 4429},
	Internal:             {500, 1011},
	Unavailable:          {503, 1013},
}

// HTTPStatus is the status of an HTTP answer with this code.
func (c Code) HTTPStatus() int {
	if row, ok := codes[c]; ok {
		return row.status
	}
	return 500
}

// CloseCode is the WebSocket close code (RFC 6455, section 7.4) of this code.
func (c Code) CloseCode() int {
	if row, ok := codes[c]; ok {
		return row.closeCode
	}
	return 1011
}

// Retryable tells whether the same request, with the same key, may succeed later.
func (c Code) Retryable() bool {
	switch c {
	case Timeout, RateLimited, Internal, Unavailable:
		return true
	default:
		return false
	}
}

// An Error is the only kind of error that a client is shown. Its Message says
// what to do; its cause is for logs.
type Error struct {
	Code       Code
	Message    string
	RetryAfter time.Duration // 0: the client chooses
	cause      error
}

// Errorf makes an Error. An error among args that is wrapped with %w becomes its cause,
// and its text is part of the message: wrap only what a client may read.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), cause: errors.Unwrap(err)}
}

// Because returns e with a hidden cause.
func (e *Error) Because(cause error) *Error {
	e.cause = cause
	return e
}

func (e *Error) Error() string {
	if e.cause != nil {
		return string(e.Code) + ": " + e.Message + ": " + e.cause.Error()
	}
	return string(e.Code) + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.cause }

// MarshalJSON is the error as a client sees it, without its cause.
func (e *Error) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Code    Code   `json:"code"`
		Message string `json:"message"`
	}{e.Code, e.Message})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Error) UnmarshalJSON(b []byte) error {
	var wire struct {
		Code    Code   `json:"code"`
		Message string `json:"message"`
	}
	err := json.Unmarshal(b, &wire)
	e.Code, e.Message = wire.Code, wire.Message
	return err
}

// ErrorFrom returns the Error in err's chain; any other error becomes an
// internal one that shows a client nothing.
func ErrorFrom(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return (&Error{Code: Internal, Message: "internal error"}).Because(err)
}
