// Package rrtspb holds options.proto, the options that rrtsgen understands.
// It has no messages of its own.
package rrtspb

import _ "embed"

// Path is the name under which .proto files import the options.
const Path = "rrts/schema/rrtspb/options.proto"

// Options is the text of options.proto.
//
//go:embed options.proto
var Options string
