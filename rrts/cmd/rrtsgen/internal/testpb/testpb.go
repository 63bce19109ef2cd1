// Package testpb holds the test of generated code: schemas with every kind of
// field, the code that rrtsgen makes of them (kindspb, sharedpb) and the code that
// protoc-gen-go makes of them (googlepb), to compare with.
package testpb
