package codec

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// whole returns an error if a message, or one inside it, has fields that this
// version does not know. The generated code would skip them in silence.
func whole(m protoreflect.Message) error {
	if len(m.GetUnknown()) > 0 {
		return fmt.Errorf("unknown field in %s", m.Descriptor().Name())
	}
	var err error
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Kind() != protoreflect.MessageKind:
		case f.IsList():
			for list, i := v.List(), 0; i < list.Len() && err == nil; i++ {
				err = whole(list.Get(i).Message())
			}
		default:
			err = whole(v.Message())
		}
		return err == nil
	})
	return err
}
