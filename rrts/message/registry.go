package message

import (
	"errors"
	"fmt"
)

// Schema is what one generated package declares; its variable is called Schema.
type Schema struct {
	File     string // the .proto file, relative to the schema's root folder
	Services []*ServiceDescriptor
	Messages []Type
}

// Type is a message type by its full protobuf name.
type Type struct {
	Name string
	New  func() Message
}

// Registry finds services by number and message types by name. A program makes
// its own from the Schemas of the packages that it uses; nothing registers itself
// behind its back. It does not change once made, so it may be shared.
type Registry struct {
	services map[uint16]*ServiceDescriptor
	types    map[string]func() Message
}

// NewRegistry returns the Registry of the given Schemas. The error names every
// number and name that is there twice.
func NewRegistry(schemas ...*Schema) (*Registry, error) {
	r := &Registry{services: make(map[uint16]*ServiceDescriptor), types: make(map[string]func() Message)}
	var errs []error
	for _, s := range schemas {
		for _, d := range s.Services {
			if o := r.services[d.Number]; o != nil {
				errs = append(errs, fmt.Errorf("message: %s: service number %d of %s is already that of %s", s.File, d.Number, d.Name, o.Name))
				continue
			}
			r.services[d.Number] = d
		}
		for _, t := range s.Messages {
			if r.types[t.Name] != nil {
				errs = append(errs, fmt.Errorf("message: %s: there are two messages %s", s.File, t.Name))
				continue
			}
			r.types[t.Name] = t.New
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return r, nil
}

// Service returns the service of that number, or nil.
func (r *Registry) Service(number uint16) *ServiceDescriptor { return r.services[number] }

// Method returns the method of those numbers, or nil.
func (r *Registry) Method(service, method uint16) *MethodDescriptor {
	s := r.services[service]
	if s == nil {
		return nil
	}
	return s.Method(method)
}

// New returns a fresh message of that full name, or nil.
func (r *Registry) New(name string) Message {
	if f := r.types[name]; f != nil {
		return f()
	}
	return nil
}

// Accept parses the body of r into in. When the body breaks the method's bound or
// is malformed it fails r with Invalid and reports false. Generated code uses it.
func Accept(r Request, m *MethodDescriptor, in Message) bool {
	body := r.Envelope().Body
	if uint64(len(body)) > uint64(m.MaxBytes) {
		r.Fail(Invalid, fmt.Sprintf("message: %s: %d bytes are more than %d", m.Request, len(body), m.MaxBytes))
		return false
	}
	if err := in.Parse(body); err != nil {
		r.Fail(Invalid, err.Error())
		return false
	}
	return true
}

// Refuse answers a request for a method that the service does not have. Generated
// code uses it.
func Refuse(r Request, s *ServiceDescriptor) {
	r.Fail(NoMethod, fmt.Sprintf("%s has no method %d", s.Name, r.Envelope().Method))
}

// Finish parses the body of a reply into out. Generated code uses it.
func Finish(m *MethodDescriptor, body []byte, out Message) error {
	if err := out.Parse(body); err != nil {
		return Errorf(Internal, "message: reply of %s: %v", m.Name, err)
	}
	return nil
}
