package datasource

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"virtualservicesinc.com/comps/datasource/sqlvalue"
)

// Value returns what the driver's value is as it travels, or why that is not what the
// field declares. Nothing is rounded and nothing is cut: what does not fit is an error,
// which does not name the field.
func (f *Field) Value(v any) (Value, error) {
	if v == nil {
		if !f.Nullable {
			return Value{}, errors.New("is NULL, which is not declared")
		}
		return Value{Kind: Null}, nil
	}
	out, err := f.value(v)
	if err != nil {
		return Value{}, err
	}
	if len(out.Data) > MaxValueBytes {
		return Value{}, fmt.Errorf("is %d bytes long, the limit is %d", len(out.Data), MaxValueBytes)
	}
	return out, nil
}

func (f *Field) value(v any) (Value, error) {
	switch f.Type {
	case TypeText:
		s, ok := plain(v)
		if !ok {
			return f.other(v)
		}
		if !utf8.ValidString(s) {
			return Value{}, errors.New("is not valid UTF-8")
		}
		return Value{Text, []byte(s)}, nil
	case TypeInteger:
		s, ok := plain(v)
		if _, err := strconv.ParseInt(s, 10, 64); !ok || err != nil {
			return f.other(v)
		}
		return Value{Integer, []byte(s)}, nil
	case TypeDecimal:
		if _, ok := v.(float64); ok {
			return Value{}, errors.New("comes as a floating-point number, in which decimals are rounded: let the statement CAST it to text")
		}
		s, ok := plain(v)
		s = pointed(s)
		if !ok || !number(s) {
			return f.other(v)
		}
		return Value{Decimal, []byte(s)}, nil
	case TypeFloat:
		x, ok := v.(float64)
		if s, is := plain(v); is {
			var err error
			x, err = strconv.ParseFloat(s, 64)
			ok = err == nil
		}
		if !ok {
			return f.other(v)
		}
		s := strconv.FormatFloat(x, 'f', -1, 64)
		if !number(s) {
			return Value{}, errors.New("is no finite number")
		}
		return Value{Decimal, []byte(s)}, nil
	case TypeBoolean:
		return f.boolean(v)
	case TypeBytes:
		b, ok := v.([]byte)
		if !ok {
			return f.other(v)
		}
		return Value{Bytes, b}, nil
	case TypeDate:
		if d, ok := v.(sqlvalue.Date); ok {
			return Value{Text, []byte(d.String())}, nil
		}
		s, _ := plain(v)
		if _, err := time.Parse(time.DateOnly, s); err != nil {
			return f.other(v)
		}
		return Value{Text, []byte(s)}, nil
	case TypeTimeOfDay:
		s, _ := plain(v)
		if _, err := time.Parse("15:04:05.999999999", s); err != nil {
			return f.other(v)
		}
		return Value{Text, []byte(s)}, nil
	case TypeTimestamp, TypeLocal:
		t, ok := v.(time.Time)
		if s, is := plain(v); is {
			var err error
			t, err = stored(s)
			ok = err == nil
		}
		if !ok {
			return f.other(v)
		}
		if f.Type == TypeLocal {
			return Value{Text, []byte(t.Format(localForm))}, nil
		}
		return Value{Time, []byte(t.UTC().Format(time.RFC3339Nano))}, nil
	}
	return f.other(v)
}

func (f *Field) boolean(v any) (Value, error) {
	s, _ := plain(v)
	if b, ok := v.(bool); ok {
		s = strconv.FormatBool(b)
	}
	switch strings.ToLower(s) {
	case "true", "t", "1", "yes":
		return Value{Boolean, []byte("true")}, nil
	case "false", "f", "0", "no":
		return Value{Boolean, []byte("false")}, nil
	}
	return f.other(v)
}

// other is the error of what does not become the field's type.
func (f *Field) other(v any) (Value, error) {
	return Value{}, fmt.Errorf("comes as %s, declared is %s", described(v), f.Type)
}

func described(v any) string {
	switch v.(type) {
	case bool:
		return "a boolean"
	case int64:
		return "an integer"
	case float64:
		return "a floating-point number"
	case string:
		return "text"
	case []byte:
		return "bytes"
	case sqlvalue.Decimal:
		return "a decimal"
	case sqlvalue.Date:
		return "a date"
	case time.Time:
		return "a timestamp"
	}
	return fmt.Sprintf("a %T", v)
}

// plain is the text of a value that is text already or has one text only.
func plain(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case sqlvalue.Decimal:
		return string(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	}
	return "", false
}

// pointed writes the zero that some databases leave out before the point.
func pointed(s string) string {
	if rest, ok := strings.CutPrefix(s, "-."); ok {
		return "-0." + rest
	}
	if strings.HasPrefix(s, ".") {
		return "0" + s
	}
	return s
}

// stored reads a timestamp that a database keeps as text.
func stored(s string) (time.Time, error) {
	for _, form := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07"} {
		if t, err := time.Parse(form, s); err == nil {
			return t, nil
		}
	}
	return time.Parse(localForm, strings.Replace(s, " ", "T", 1))
}
