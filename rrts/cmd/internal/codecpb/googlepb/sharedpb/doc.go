// Package sharedpb is the code that protoc-gen-go makes of a test schema, to compare
// with. Write it anew with: go test ./rrts/cmd/rrtsgen/internal/testpb -run TestGoogle -update
package sharedpb
