// Package schema holds the .proto files of RRTS, so that rrtsgen has them wherever it
// runs. What is made of them is in the packages below.
package schema

import "embed"

// Files are the .proto files, as NAMEpb/NAME.proto.
//
//go:embed */*.proto
var Files embed.FS

// Root is the folder that their names in imports begin with.
const Root = "rrts/schema/"
