package schema

import (
	"cmp"
	"errors"
	"fmt"
	"go/token"
	"path"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"virtualservicesinc.com/rrts/schema/rrtspb"
)

// FromDescriptors makes the model of the given files and of what they import.
// goImport names the Go package of a file that has no option go_package. The
// error joins everything that is refused, one line file:line:col each.
func FromDescriptors(files []protoreflect.FileDescriptor, goImport func(file string) (string, error)) (*Schema, error) {
	b := &builder{
		goImport: goImport,
		files:    make(map[string]*File),
		messages: make(map[protoreflect.FullName]*Message),
		enums:    make(map[protoreflect.FullName]*Enum),
		at:       make(map[any]protoreflect.Descriptor),
	}
	s := new(Schema)
	for _, fd := range files {
		s.Files = append(s.Files, b.file(fd))
	}
	slices.SortFunc(s.Files, func(a, b *File) int { return cmp.Compare(a.Path, b.Path) })
	for _, f := range b.order {
		if !slices.Contains(s.Files, f) {
			s.Imports = append(s.Imports, f)
		}
	}
	if len(b.faults) == 0 {
		markSensitive(b.order)
		b.checkNumbers()
	}
	if len(b.faults) > 0 {
		return nil, b.err()
	}
	return s, nil
}

type builder struct {
	goImport func(string) (string, error)
	files    map[string]*File
	order    []*File // imported before importing
	messages map[protoreflect.FullName]*Message
	enums    map[protoreflect.FullName]*Enum
	at       map[any]protoreflect.Descriptor // of everything in the model
	faults   []fault
}

// fault is something that is refused, at a place in a file; line and column count
// from 1.
type fault struct {
	file      string
	line, col int
	text      string
}

// err joins the faults in the order of their places.
func (b *builder) err() error {
	slices.SortStableFunc(b.faults, func(x, y fault) int {
		return cmp.Or(cmp.Compare(x.file, y.file), cmp.Compare(x.line, y.line), cmp.Compare(x.col, y.col))
	})
	var errs []error
	for _, f := range b.faults {
		errs = append(errs, fmt.Errorf("%s:%d:%d: %s", f.file, f.line, f.col, f.text))
	}
	return errors.Join(errs...)
}

// refuse notes a fault at d's place in its source.
func (b *builder) refuse(d protoreflect.Descriptor, format string, a ...any) {
	file := d.ParentFile()
	loc := file.SourceLocations().ByDescriptor(d)
	if _, ok := d.(protoreflect.FileDescriptor); ok {
		loc = file.SourceLocations().ByPath(protoreflect.SourcePath{12}) // the syntax statement
	}
	b.faults = append(b.faults, fault{file.Path(), loc.StartLine + 1, loc.StartColumn + 1, fmt.Sprintf(format, a...)})
}

// file returns the model of fd, made once.
func (b *builder) file(fd protoreflect.FileDescriptor) *File {
	if f := b.files[fd.Path()]; f != nil {
		return f
	}
	f := &File{Path: fd.Path(), Proto: string(fd.Package()), Doc: doc(fd.SourceLocations().ByPath(protoreflect.SourcePath{12}))}
	b.files[fd.Path()] = f
	for i := range fd.Imports().Len() {
		imp := fd.Imports().Get(i)
		switch {
		case imp.Path() == rrtspb.Path:
		case strings.HasPrefix(imp.Path(), "google/protobuf/"):
			b.refuse(fd, "import of %s: its messages have no generated code; describe what you need in a message of your own", imp.Path())
		//lint:ignore SA1019 nobody may import like that any more, so it is refused
		case imp.IsWeak || imp.IsPublic:
			b.refuse(fd, "import of %s: weak and public imports are not supported", imp.Path())
		default:
			f.Imports = append(f.Imports, b.file(imp.FileDescriptor))
		}
	}
	b.order = append(b.order, f)
	if fd.Syntax() != protoreflect.Proto3 {
		b.refuse(fd, "there is support for proto3 only, and this is %s: write syntax = \"proto3\"", fd.Syntax())
		return f
	}
	b.goPackage(f, fd)
	for i := range fd.Extensions().Len() {
		b.refuse(fd.Extensions().Get(i), "extensions are not supported: add a field to the message")
	}
	b.declare(f, fd.Messages(), fd.Enums(), "")
	b.fill(fd.Messages())
	for i := range fd.Services().Len() {
		f.Services = append(f.Services, b.service(f, fd.Services().Get(i)))
	}
	b.checkNames(f)
	return f
}

func (b *builder) goPackage(f *File, fd protoreflect.FileDescriptor) {
	given := fd.Options().(*descriptorpb.FileOptions).GetGoPackage()
	if given == "" {
		var err error
		if given, err = b.goImport(f.Path); err != nil {
			b.refuse(fd, "%v", err)
			return
		}
	}
	var name string
	f.GoImport, name, _ = strings.Cut(given, ";")
	if f.GoPackage = name; name == "" {
		f.GoPackage = path.Base(f.GoImport)
	}
	if !token.IsIdentifier(f.GoPackage) {
		b.refuse(fd, "%q is no name for a Go package: give option go_package = \"%s;NAME\"", f.GoPackage, f.GoImport)
	}
	for _, o := range b.order {
		if o != f && o.GoImport == f.GoImport {
			b.refuse(fd, "the Go package %s already holds %s: one .proto file is one package, so give this one a folder of its own", f.GoImport, o.Path)
		}
	}
}

// declare makes messages and enums without their fields, so that they can refer to
// each other.
func (b *builder) declare(f *File, messages protoreflect.MessageDescriptors, enums protoreflect.EnumDescriptors, outer string) {
	for i := range enums.Len() {
		ed := enums.Get(i)
		e := &Enum{File: f, Name: string(ed.FullName()), Go: outer + camel(string(ed.Name())), Doc: docOf(ed)}
		b.enums[ed.FullName()], b.at[e] = e, ed
		f.Enums = append(f.Enums, e)
		b.enum(e, ed)
	}
	for i := range messages.Len() {
		md := messages.Get(i)
		if md.IsMapEntry() {
			continue // its field is refused
		}
		m := &Message{File: f, Name: string(md.FullName()), Go: outer + camel(string(md.Name())), Doc: docOf(md)}
		b.messages[md.FullName()], b.at[m] = m, md
		f.Messages = append(f.Messages, m)
		b.declare(f, md.Messages(), md.Enums(), m.Go)
	}
}

func (b *builder) enum(e *Enum, ed protoreflect.EnumDescriptor) {
	prefix := upperSnake(string(ed.Name())) + "_"
	seen := make(map[protoreflect.EnumNumber]bool)
	for i := range ed.Values().Len() {
		vd := ed.Values().Get(i)
		switch n := vd.Number(); {
		case n < 0:
			b.refuse(vd, "enum value %s = %d: negative numbers are not supported", vd.Name(), n)
		case seen[n]:
			b.refuse(vd, "enum value %s = %d: aliases are not supported", vd.Name(), n)
		}
		seen[vd.Number()] = true
		text := strings.ToLower(strings.TrimPrefix(string(vd.Name()), prefix))
		v := &Value{Name: string(vd.Name()), Go: e.Go + camel(text), Text: text, Doc: docOf(vd), Number: int(vd.Number())}
		b.at[v] = vd
		e.Values = append(e.Values, v)
	}
	for i := range ed.ReservedRanges().Len() {
		r := ed.ReservedRanges().Get(i)
		e.Reserved.Ranges = append(e.Reserved.Ranges, Range{int(r[0]), int(r[1])})
	}
	e.Reserved.names(ed.ReservedNames())
}

func (r *Reserved) names(names protoreflect.Names) {
	for i := range names.Len() {
		r.Names = append(r.Names, string(names.Get(i)))
	}
	slices.Sort(r.Names)
	slices.SortFunc(r.Ranges, func(a, b Range) int { return cmp.Compare(a.First, b.First) })
}

func (b *builder) fill(messages protoreflect.MessageDescriptors) {
	for i := range messages.Len() {
		md := messages.Get(i)
		if md.IsMapEntry() {
			continue
		}
		m := b.messages[md.FullName()]
		for j := range md.Oneofs().Len() {
			if od := md.Oneofs().Get(j); !od.IsSynthetic() {
				b.refuse(od, "oneof %s is not supported: make its members fields, and say that one of them is set", od.Name())
			}
		}
		if md.Extensions().Len() > 0 || md.ExtensionRanges().Len() > 0 {
			b.refuse(md, "extensions are not supported: add a field to the message")
		}
		for j := range md.Fields().Len() {
			m.Fields = append(m.Fields, b.field(md.Fields().Get(j)))
		}
		for j := range md.ReservedRanges().Len() {
			r := md.ReservedRanges().Get(j)
			m.Reserved.Ranges = append(m.Reserved.Ranges, Range{int(r[0]), int(r[1]) - 1})
		}
		m.Reserved.names(md.ReservedNames())
		b.fill(md.Messages())
	}
}

var kinds = map[protoreflect.Kind]Kind{
	protoreflect.BoolKind: KindBool, protoreflect.EnumKind: KindEnum,
	protoreflect.Int32Kind: KindInt32, protoreflect.Int64Kind: KindInt64,
	protoreflect.Uint32Kind: KindUint32, protoreflect.Uint64Kind: KindUint64,
	protoreflect.Sint32Kind: KindSint32, protoreflect.Sint64Kind: KindSint64,
	protoreflect.Fixed32Kind: KindFixed32, protoreflect.Fixed64Kind: KindFixed64,
	protoreflect.Sfixed32Kind: KindSfixed32, protoreflect.Sfixed64Kind: KindSfixed64,
	protoreflect.FloatKind: KindFloat, protoreflect.DoubleKind: KindDouble,
	protoreflect.StringKind: KindString, protoreflect.BytesKind: KindBytes,
	protoreflect.MessageKind: KindMessage,
}

func (b *builder) field(fd protoreflect.FieldDescriptor) *Field {
	o, err := fieldOptions(fd.Options())
	if err != nil {
		b.refuse(fd, "%v", err)
	}
	f := &Field{
		Name: string(fd.Name()), Go: fieldName(string(fd.Name())), Doc: docOf(fd), Number: int(fd.Number()),
		Kind: kinds[fd.Kind()], Repeated: fd.IsList(), Optional: fd.HasOptionalKeyword(),
		Sensitive: o.sensitive, MaxItems: o.maxItems,
	}
	b.at[f] = fd
	switch {
	case fd.IsMap():
		b.refuse(fd, "field %s: maps are not supported: write a repeated message of key and value", fd.Name())
	case f.Kind == 0:
		b.refuse(fd, "field %s: %s is not supported", fd.Name(), fd.Kind())
	case f.Kind == KindMessage:
		f.Optional = false // a message is a pointer anyway
		if f.Message = b.messages[fd.Message().FullName()]; f.Message == nil {
			b.refuse(fd, "field %s: message %s has no generated code", fd.Name(), fd.Message().FullName())
		}
	case f.Kind == KindEnum:
		if f.Enum = b.enums[fd.Enum().FullName()]; f.Enum == nil {
			b.refuse(fd, "field %s: enum %s has no generated code", fd.Name(), fd.Enum().FullName())
		}
	}
	if packable := f.Kind != KindString && f.Kind != KindBytes && f.Kind != KindMessage; f.Repeated && packable && !fd.IsMap() && !fd.IsPacked() {
		b.refuse(fd, "field %s: packed = false is not supported", fd.Name())
	}
	if o.uint128 {
		if f.Kind != KindBytes {
			b.refuse(fd, "field %s: (rrts.uint128) is for bytes, not for %s", fd.Name(), fd.Kind())
		}
		f.Kind = KindUint128
	}
	if f.MaxItems > 0 && !f.Repeated {
		b.refuse(fd, "field %s: (rrts.max_items) is for repeated fields", fd.Name())
	}
	return f
}

func (b *builder) service(f *File, sd protoreflect.ServiceDescriptor) *Service {
	o, err := serviceOptions(sd.Options())
	if err != nil {
		b.refuse(sd, "%v", err)
	}
	s := &Service{File: f, Name: string(sd.FullName()), Go: camel(string(sd.Name())), Doc: docOf(sd),
		Number: o.number, Policy: Policy(o.policy), Reserved: o.reserved}
	b.at[s] = sd
	ours := f.Proto == "rrts" || strings.HasPrefix(f.Proto, "rrts.")
	switch {
	case o.number < 1 || o.number > MaxNumber:
		b.refuse(sd, "service %s: give it a number from 1 to %d: option (rrts.service) = {number: N}", sd.Name(), MaxNumber)
	case ours && o.number >= FirstSite:
		b.refuse(sd, "service %s: number %d is the site's: those of packages rrts.* are below %d", sd.Name(), o.number, FirstSite)
	case !ours && o.number < FirstSite:
		b.refuse(sd, "service %s: number %d is one of RRTS's own: take one from %d to %d", sd.Name(), o.number, FirstSite, MaxNumber)
	}
	if o.policy < 0 || o.policy >= len(policyNames) {
		b.refuse(sd, "service %s: policy %d is unknown", sd.Name(), o.policy)
		s.Policy = 0
	}
	byNumber := make(map[int]*Method)
	for i := range sd.Methods().Len() {
		md := sd.Methods().Get(i)
		m := b.method(s, md)
		if other := byNumber[m.Number]; other != nil {
			b.refuse(md, "method %s: number %d is already that of %s", md.Name(), m.Number, other.Name)
		}
		byNumber[m.Number] = m
		s.Methods = append(s.Methods, m)
	}
	slices.SortStableFunc(s.Methods, func(a, b *Method) int { return cmp.Compare(a.Number, b.Number) })
	return s
}

func (b *builder) method(s *Service, md protoreflect.MethodDescriptor) *Method {
	o, err := methodOptions(md.Options())
	if err != nil {
		b.refuse(md, "%v", err)
	}
	m := &Method{Name: string(md.Name()), Go: camel(string(md.Name())), Doc: docOf(md), Number: o.number,
		Lane: Lane(o.lane), Idempotent: o.idempotent, Notice: o.notice, MaxBytes: o.maxBytes,
		In: b.messages[md.Input().FullName()], Out: b.messages[md.Output().FullName()]}
	b.at[m] = md
	if m.MaxBytes == 0 {
		m.MaxBytes = DefaultBytes
	}
	switch {
	case m.Number < 1 || m.Number > MaxNumber:
		b.refuse(md, "method %s: give it a number from 1 to %d: option (rrts.method) = {number: N}", md.Name(), MaxNumber)
	case slices.Contains(s.Reserved, m.Number):
		b.refuse(md, "method %s: number %d is reserved: it was that of a removed method", md.Name(), m.Number)
	}
	if o.lane < 0 || o.lane >= len(laneNames) {
		b.refuse(md, "method %s: lane %d is unknown", md.Name(), o.lane)
		m.Lane = LaneRequest
	}
	if m.MaxBytes > LimitBytes {
		b.refuse(md, "method %s: max_bytes %d is more than %d", md.Name(), m.MaxBytes, LimitBytes)
	}
	if md.IsStreamingClient() || md.IsStreamingServer() {
		b.refuse(md, "method %s: streams are not supported", md.Name())
	}
	if m.Go == "Call" || m.Go == "Caller" {
		b.refuse(md, "method %s: the name is taken by message.Caller", md.Name())
	}
	if m.In == nil {
		b.refuse(md, "method %s: message %s has no generated code", md.Name(), md.Input().FullName())
	}
	switch {
	case m.Notice:
		m.Out = nil
	case s.Policy == PolicyAll:
		b.refuse(md, "method %s: policy ALL is for notices only: nobody could tell which reply counts", md.Name())
	case m.Out == nil:
		b.refuse(md, "method %s: message %s has no generated code", md.Name(), md.Output().FullName())
	}
	return m
}

// checkNumbers refuses service numbers that are there twice.
func (b *builder) checkNumbers() {
	byNumber := make(map[int]*Service)
	for _, f := range b.order {
		for _, s := range f.Services {
			if o := byNumber[s.Number]; o != nil {
				b.refuse(b.at[s], "service %s: number %d is already that of %s in %s", s.Name, s.Number, o.Name, o.File.Path)
			}
			byNumber[s.Number] = s
		}
	}
}

// checkNames refuses Go names that are there twice.
func (b *builder) checkNames(f *File) {
	seen := map[string]string{"Schema": "the package's schema"}
	add := func(at any, name, what string) {
		if o, twice := seen[name]; twice {
			b.refuse(b.at[at], "%s and %s would both be called %s in Go: rename one", what, o, name)
		}
		seen[name] = what
	}
	for _, m := range f.Messages {
		add(m, m.Go, "message "+m.Name)
		fields := make(map[string]string)
		for _, x := range m.Fields {
			if o, twice := fields[x.Go]; twice {
				b.refuse(b.at[x], "field %s and field %s would both be called %s in Go: rename one", x.Name, o, x.Go)
			}
			fields[x.Go] = x.Name
		}
	}
	for _, e := range f.Enums {
		add(e, e.Go, "enum "+e.Name)
		for _, v := range e.Values {
			add(v, v.Go, "enum value "+v.Name)
		}
	}
	for _, s := range f.Services {
		for _, n := range []string{s.Go + "Service", s.Go + "Descriptor", s.Go + "Handler", s.Go + "Client", "Serve" + s.Go} {
			add(s, n, "service "+s.Name)
		}
		for _, m := range s.Methods {
			add(m, s.Go+m.Go+"Method", "method "+s.Name+"."+m.Name)
		}
	}
}

// markSensitive marks every message from which a sensitive field can be reached,
// and every method with such a message.
func markSensitive(files []*File) {
	for changed := true; changed; {
		changed = false
		for _, f := range files {
			for _, m := range f.Messages {
				for _, x := range m.Fields {
					if !m.Sensitive && (x.Sensitive || x.Message != nil && x.Message.Sensitive) {
						m.Sensitive, changed = true, true
					}
				}
			}
		}
	}
	for _, f := range files {
		for _, s := range f.Services {
			for _, m := range s.Methods {
				m.Sensitive = m.In.Sensitive || m.Out != nil && m.Out.Sensitive
			}
		}
	}
}

func docOf(d protoreflect.Descriptor) string {
	return doc(d.ParentFile().SourceLocations().ByDescriptor(d))
}

// doc returns the comment at a place in the source, without the space that follows
// the slashes.
func doc(loc protoreflect.SourceLocation) string {
	text := loc.LeadingComments
	if text == "" {
		text = loc.TrailingComments
	}
	lines := strings.Split(strings.TrimRight(text, "\n \t"), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(strings.TrimPrefix(l, " "), " \t")
	}
	return strings.Join(lines, "\n")
}
