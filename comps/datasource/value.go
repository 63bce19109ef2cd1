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

// Kind says what a Value is. Append-only.
type Kind uint8

const (
	Text    Kind = iota // UTF-8
	Null                // nothing
	Integer             // decimal digits, '-' in front where it is below zero
	Decimal             // the same with at most one point between digits
	Boolean             // "true" or "false"
	Time                // RFC 3339 with a zone: 2026-01-31T12:00:00.5+01:00
	Bytes               // as they are
)

var kindNames = [...]string{"text", "NULL", "an integer", "a decimal", "a boolean", "a time", "bytes"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", k)
}

// Value is one value as it travels: the text of its kind.
type Value struct {
	Kind Kind
	Data []byte
}

// Type is what a parameter or column is declared to be.
type Type uint8

const (
	TypeText      Type = iota + 1 // Text
	TypeInteger                   // Integer of 64 bits
	TypeDecimal                   // Integer or Decimal; its digits come and go as they are
	TypeFloat                     // Integer or Decimal, rounded to a 64-bit floating-point number
	TypeBoolean                   // Boolean
	TypeBytes                     // Bytes
	TypeDate                      // Text, 2026-01-31
	TypeTimeOfDay                 // Text, 12:00:00.5
	TypeTimestamp                 // Time; in the database it stands in UTC
	TypeLocal                     // Text, 2026-01-31T12:00:00.5: a timestamp without a zone
)

var typeWords = map[string]Type{
	"text": TypeText, "integer": TypeInteger, "decimal": TypeDecimal, "float": TypeFloat, "boolean": TypeBoolean, "bytes": TypeBytes,
	"date": TypeDate, "time_of_day": TypeTimeOfDay, "timestamp": TypeTimestamp, "local_timestamp": TypeLocal,
}

// ParseType returns the type of a word of the configuration.
func ParseType(word string) (Type, bool) {
	t, ok := typeWords[word]
	return t, ok
}

const (
	// MaxValueBytes bounds one value: an effect's arguments are smaller, an answer is a
	// message of some megabytes.
	MaxValueBytes = 4 << 20
	// defaultText is how many characters of a text parameter are taken that declares no
	// length: a large form field.
	defaultText = 64 << 10
	// defaultDigits is how many digits of a second a time has that declares none: what
	// most databases keep.
	defaultDigits = 6
	// maxDecimalDigits bounds decimals: the widest of the databases in use has 131,072
	// digits, and one of money has 40.
	maxDecimalDigits = 1000
)

// Field declares a parameter or a column.
type Field struct {
	Name string
	Type Type
	// Size bounds text in characters, bytes in bytes, a decimal in digits. 0 is the
	// default of the type.
	Size int
	// Scale bounds the digits after the point of a decimal whose Size is not 0.
	Scale int
	// Digits bounds the digits of a second; -1 is the default.
	Digits int
	// Nullable says that NULL may stand there.
	Nullable bool
}

// Bind returns what a value is for the driver, or why the field cannot hold it. The error
// does not name the field and does not repeat the value: it may be secret.
func (f *Field) Bind(v Value) (any, error) {
	if v.Kind == Null {
		if !f.Nullable {
			return nil, errors.New("is NULL, which is not declared")
		}
		return nil, nil
	}
	if len(v.Data) > MaxValueBytes {
		return nil, fmt.Errorf("is %d bytes long, the limit is %d", len(v.Data), MaxValueBytes)
	}
	if v.Kind != Bytes && !utf8.Valid(v.Data) {
		return nil, errors.New("is not valid UTF-8")
	}
	if !f.takes(v.Kind) {
		return nil, fmt.Errorf("is %s, which does not go into %s", v.Kind, f.Type)
	}
	s := string(v.Data)
	switch f.Type {
	case TypeText:
		return f.text(s)
	case TypeInteger:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil, errors.New("is not an integer of 64 bits")
		}
		return n, nil
	case TypeDecimal:
		return f.decimal(s)
	case TypeFloat:
		if !number(s) {
			return nil, errors.New("is not a number")
		}
		x, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, errors.New("is a number out of range")
		}
		return x, nil
	case TypeBoolean:
		if s != "true" && s != "false" {
			return nil, errors.New(`is neither "true" nor "false"`)
		}
		return s == "true", nil
	case TypeBytes:
		if f.Size > 0 && len(v.Data) > f.Size {
			return nil, fmt.Errorf("is %d bytes long, declared are %d", len(v.Data), f.Size)
		}
		return v.Data, nil
	case TypeDate:
		t, err := time.Parse(time.DateOnly, s)
		if err != nil || t.Year() < 1 {
			return nil, errors.New("is not a date such as 2026-01-31")
		}
		return sqlvalue.Date{Year: t.Year(), Month: t.Month(), Day: t.Day()}, nil
	case TypeTimeOfDay:
		if _, err := time.Parse("15:04:05.999999999", s); err != nil || len(s) < 8 {
			return nil, errors.New("is not a time of day such as 12:00:00.5")
		}
		return s, f.second(s)
	case TypeTimestamp:
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil || t.UTC().Year() < 1 || t.UTC().Year() > 9999 {
			return nil, errors.New("is not a time with a zone such as 2026-01-31T12:00:00.5+01:00")
		}
		return t.UTC(), f.second(s)
	case TypeLocal:
		t, err := time.Parse(localForm, s)
		if err != nil || t.Year() < 1 {
			return nil, errors.New("is not a time without a zone such as 2026-01-31T12:00:00.5")
		}
		return t, f.second(s)
	}
	return nil, fmt.Errorf("is declared as type %d, which there is not", f.Type)
}

const localForm = "2006-01-02T15:04:05.999999999"

// takes reports whether a kind of value goes into the field.
func (f *Field) takes(k Kind) bool {
	switch f.Type {
	case TypeText, TypeDate, TypeTimeOfDay, TypeLocal:
		return k == Text
	case TypeInteger:
		return k == Integer
	case TypeDecimal, TypeFloat:
		return k == Integer || k == Decimal
	case TypeBoolean:
		return k == Boolean
	case TypeBytes:
		return k == Bytes
	case TypeTimestamp:
		return k == Time
	}
	return false
}

// String names the type as the configuration does.
func (t Type) String() string {
	for word, x := range typeWords {
		if x == t {
			return word
		}
	}
	return fmt.Sprintf("type %d", t)
}

func (f *Field) text(s string) (any, error) {
	most := f.Size
	if most == 0 {
		most = defaultText
	}
	if n := utf8.RuneCountInString(s); n > most {
		return nil, fmt.Errorf("is %d characters long, declared are %d", n, most)
	}
	if strings.ContainsRune(s, 0) {
		return nil, errors.New("holds a zero byte, which databases end a text at")
	}
	return s, nil
}

// number reports whether s is digits with at most one point between them, and a sign.
func number(s string) bool {
	s = strings.TrimPrefix(s, "-")
	whole, fraction, point := strings.Cut(s, ".")
	digits := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
	return digits(whole) && (!point || digits(fraction))
}

func (f *Field) decimal(s string) (any, error) {
	if !number(s) {
		return nil, errors.New("is not a decimal such as -12.30")
	}
	if len(s) > maxDecimalDigits {
		return nil, fmt.Errorf("has %d digits, the limit is %d", len(s), maxDecimalDigits)
	}
	if f.Size > 0 {
		whole, fraction, _ := strings.Cut(strings.TrimPrefix(s, "-"), ".")
		if n := len(strings.TrimRight(fraction, "0")); n > f.Scale {
			return nil, fmt.Errorf("has %d digits after the point, declared are %d", n, f.Scale)
		}
		if n := len(strings.TrimLeft(whole, "0")); n > f.Size-f.Scale {
			return nil, fmt.Errorf("has %d digits before the point, declared are %d", n, f.Size-f.Scale)
		}
	}
	return sqlvalue.Decimal(s), nil
}

// second checks the digits of a time's second: the database would drop what is too much.
func (f *Field) second(s string) error {
	most := f.Digits
	if most < 0 {
		most = defaultDigits
	}
	_, fraction, _ := strings.Cut(s, ".")
	if end := strings.IndexFunc(fraction, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		fraction = fraction[:end]
	}
	if n := len(strings.TrimRight(fraction, "0")); n > most {
		return fmt.Errorf("has %d digits of a second, declared are %d", n, most)
	}
	return nil
}
