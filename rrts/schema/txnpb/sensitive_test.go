package txnpb

import (
	"reflect"
	"strings"
	"testing"

	"virtualservicesinc.com/rrts/message"
)

// TestPlain: of every field of a transaction Plain says what the schema says, as the
// transaction's text shows it.
func TestPlain(t *testing.T) {
	fields := reflect.TypeFor[Transaction]()
	for i := range fields.NumField() {
		var tx Transaction
		fill(reflect.ValueOf(&tx).Elem().Field(i), 3)
		name := fields.Field(i).Name
		b := message.Marshal(&tx)
		if len(b) == 0 {
			t.Fatalf("%s: it is not on the wire", name)
		}
		if sensitive := strings.Contains(tx.String(), message.Redacted); Plain(b) == sensitive {
			t.Errorf("%s: Plain says %v of %v", name, !sensitive, &tx)
		}
	}
	for name, b := range map[string][]byte{"an unknown field": {15<<3 | message.WireBytes, 1, 'x'}, "a field with a long tag": {0xfa, 0x7d, 0}, "half a tag": {0x80}, "half a field": {9<<3 | message.WireBytes, 5, 'x'}} {
		if Plain(b) {
			t.Errorf("%s is plain", name)
		}
	}
	if !Plain(nil) {
		t.Error("nothing is not plain")
	}
}

// fill gives v, and what is below it for some levels, values that are not zero.
func fill(v reflect.Value, levels int) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	case reflect.String:
		v.SetString("x")
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), levels)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), levels)
	case reflect.Pointer:
		if levels > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), levels-1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				fill(f, levels-1)
			}
		}
	}
}
