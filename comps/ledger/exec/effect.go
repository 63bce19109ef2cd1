package exec

import (
	"bytes"
	"encoding/base64"
	"strings"

	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// maxEffects bounds the effects of a list, and maxDepth how deep they follow each other;
// the log's bounds are no larger.
const (
	maxEffects = 64
	maxDepth   = 6
)

// readEffects reads a list of effects:
//
//	[{"service":"mail","target":"","operation":"receipt","key":"anna",
//	  "arguments":{"to":"anna","amount":{"decimal":"12.50"},"lines":3,"gift":true,"note":null,
//	               "at":{"time":"2026-01-31T12:00:00Z"},"logo":{"bytes":"aGVsbG8="}},
//	  "done":{"transfers":[{…}],"effects":[{…}]},"failed":{…}}]
func readEffects(s *scanner, depth int) (all []txnpb.Effect, err error) {
	if depth == 0 {
		return nil, faultf("effects that follow effects, more than %d deep", maxDepth)
	}
	err = s.list("a list of effects belongs", func(i int) error {
		if i == maxEffects {
			return faultf("more than %d effects in a list", maxEffects)
		}
		all = append(all, txnpb.Effect{})
		return element(i, readEffect(s, depth, &all[i]))
	})
	return all, err
}

// effectNames are the fields of an effect.
const effectNames = "service, target, operation, key, arguments, done, failed"

func readEffect(s *scanner, depth int, e *txnpb.Effect) error {
	if s.next() != '{' {
		return s.wrongType("an effect belongs, an object that may hold " + effectNames)
	}
	seen := map[string]bool{}
	return s.object(func(key []byte) (err error) {
		name := string(key)
		if seen[name] {
			return within(name, faultf("stands twice; write it once"))
		}
		seen[name] = true
		switch name {
		case "service":
			e.Service, err = readText(s)
		case "target":
			e.Target, err = readText(s)
		case "operation":
			e.Operation, err = readText(s)
		case "key":
			e.Key, err = readText(s)
		case "arguments":
			e.Arguments, err = readArguments(s)
		case "done":
			e.Done, err = readContinuation(s, depth)
		case "failed":
			e.Failed, err = readContinuation(s, depth)
		default:
			return faultf("no field %q; an effect has %s", quoted(key), effectNames)
		}
		return within(name, err)
	})
}

func readContinuation(s *scanner, depth int) (*txnpb.Continuation, error) {
	if s.next() != '{' {
		return nil, s.wrongType("what follows belongs, an object that may hold transfers, effects")
	}
	c := &txnpb.Continuation{}
	err := s.object(func(key []byte) (err error) {
		switch string(key) {
		case "transfers":
			c.Transfers, err = readEvents(s, "a list of transfers belongs", "a transfer", transferFields, []ledgerpb.Transfer(nil))
		case "effects":
			c.Effects, err = readEffects(s, depth-1)
		default:
			return faultf("no field %q; what follows has transfers, effects", quoted(key))
		}
		return within(string(key), err)
	})
	return c, err
}

// typed are the kinds that need their name in JSON.
var typed = map[string]txnpb.ArgumentKind{
	"integer": txnpb.ArgumentKindInteger, "decimal": txnpb.ArgumentKindDecimal, "time": txnpb.ArgumentKindTime, "bytes": txnpb.ArgumentKindBytes,
}

func readArguments(s *scanner) (all []txnpb.Argument, err error) {
	if s.next() != '{' {
		return nil, s.wrongType(`an object of values belongs, such as {"to":"anna"}`)
	}
	err = s.object(func(key []byte) error {
		a := txnpb.Argument{Name: string(key)}
		err := readArgument(s, &a)
		all = append(all, a)
		return within(a.Name, err)
	})
	return all, err
}

func readArgument(s *scanner, a *txnpb.Argument) error {
	switch s.next() {
	case '"':
		a.Value = bytes.Clone(s.text())
	case 'n':
		s.at += len("null")
		a.Kind = txnpb.ArgumentKindNull
	case 't', 'f':
		v, err := readBool(s)
		a.Kind, a.Value = txnpb.ArgumentKindBoolean, []byte("false")
		if v {
			a.Value = []byte("true")
		}
		return err
	case '{':
		return readTyped(s, a)
	case '[':
		return s.wrongType("a value belongs")
	default:
		digits, err := s.digits()
		a.Value = bytes.Clone(digits)
		switch {
		case err != nil:
			return err
		case bytes.ContainsAny(digits, "eE+"):
			return faultf("%q: write the digits, without an exponent", quoted(digits))
		case bytes.IndexByte(digits, '.') >= 0:
			a.Kind = txnpb.ArgumentKindDecimal
		default:
			a.Kind = txnpb.ArgumentKindInteger
		}
	}
	return nil
}

func readTyped(s *scanner, a *txnpb.Argument) error {
	n := 0
	err := s.object(func(key []byte) (err error) {
		kind, known := typed[string(key)]
		if n++; !known || n > 1 {
			return faultf("%q is no kind of a value; write one of integer, decimal, time, bytes", quoted(key))
		}
		text, err := readText(s)
		a.Kind, a.Value = kind, []byte(text)
		if err == nil && kind == txnpb.ArgumentKindBytes {
			if a.Value, err = base64.StdEncoding.DecodeString(text); err != nil {
				return faultf("the bytes are not in base64")
			}
		}
		return err
	})
	if err == nil && n == 0 {
		return faultf(`an empty object; write a value, such as {"decimal":"12.50"}`)
	}
	return err
}

// appendEffects appends a list as readEffects reads it.
func appendEffects(b []byte, list []txnpb.Effect) []byte {
	b = append(b, '[')
	for i := range list {
		e := &list[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"service":`...)
		b = appendText(b, e.Service)
		b = append(b, `,"operation":`...)
		b = appendText(b, e.Operation)
		if e.Target != "" {
			b = append(b, `,"target":`...)
			b = appendText(b, e.Target)
		}
		if e.Key != "" {
			b = append(b, `,"key":`...)
			b = appendText(b, e.Key)
		}
		if len(e.Arguments) > 0 {
			b = append(b, `,"arguments":`...)
			b = AppendArguments(b, e.Arguments)
		}
		b = appendContinuation(b, "done", e.Done)
		b = appendContinuation(b, "failed", e.Failed)
		b = append(b, '}')
	}
	return append(b, ']')
}

func appendContinuation(b []byte, name string, c *txnpb.Continuation) []byte {
	if c == nil {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":{`...)
	if len(c.Transfers) > 0 {
		b = append(b, `"transfers":`...)
		b = appendList(b, transferFields, c.Transfers)
	}
	if len(c.Effects) > 0 {
		if len(c.Transfers) > 0 {
			b = append(b, ',')
		}
		b = append(b, `"effects":`...)
		b = appendEffects(b, c.Effects)
	}
	return append(b, '}')
}

// AppendArguments appends the arguments of an effect as a JSON object.
func AppendArguments(b []byte, list []txnpb.Argument) []byte {
	b = append(b, '{')
	for i := range list {
		a := &list[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, a.Name), ':')
		switch a.Kind {
		case txnpb.ArgumentKindText:
			b = appendText(b, string(a.Value))
		case txnpb.ArgumentKindNull:
			b = append(b, "null"...)
		case txnpb.ArgumentKindBoolean:
			b = append(b, a.Value...)
		case txnpb.ArgumentKindBytes:
			b = append(b, `{"bytes":`...)
			b = append(appendText(b, base64.StdEncoding.EncodeToString(a.Value)), '}')
		default:
			b = append(append(append(b, `{"`...), strings.ToLower(a.Kind.String())...), `":`...)
			b = append(appendText(b, string(a.Value)), '}')
		}
	}
	return append(b, '}')
}
