package main

import (
	"reflect"
	"testing"
)

func TestEveryLimitReachesTheGateway(t *testing.T) {
	var c limitsConfig
	settings := reflect.ValueOf(&c).Elem()
	for _, field := range settings.Fields() {
		field.SetInt(7)
	}
	limits := reflect.ValueOf(c.gateway())
	for i := range limits.NumField() {
		if got := limits.Field(i).Int(); got != 7 {
			t.Errorf("%s is %d, want the setting's", limits.Type().Field(i).Name, got)
		}
	}
	if none := new(limitsConfig).gateway(); none.Attachments >= 0 || none.Commands >= 0 || none.Pending >= 0 {
		t.Errorf("0 is no limit: got %+v", none)
	}
}
