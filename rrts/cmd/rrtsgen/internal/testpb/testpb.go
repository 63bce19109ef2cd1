// Package testpb holds the test of generated code: the schemas of package codecpb, the code
// that rrtsgen makes of them and the code that protoc-gen-go makes of them.
package testpb
