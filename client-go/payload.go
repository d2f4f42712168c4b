package lessor

import (
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lessor/lessor/client-go/lessorpb"
)

const (
	typeJSON  = "application/json"
	typeBytes = "application/octet-stream"
)

// Payload is data that the broker keeps and hands on but never opens.
//
// Wherever data is given as any, nil means none, a Payload and a []byte are taken as they are, and
// everything else is written as JSON.
type Payload struct {
	Data []byte
	// ContentType is application/json or what the sender said.
	ContentType string
	// Encoding says how the data is packed, such as gzip; empty means not at all.
	Encoding string
}

// Decode reads JSON into what v points to.
func (p Payload) Decode(v any) error {
	if err := json.Unmarshal(p.Data, v); err != nil {
		return fmt.Errorf("lessor: %s data: %w", p.ContentType, err)
	}
	return nil
}

// IsZero says whether there is neither data nor a content type.
func (p Payload) IsZero() bool { return len(p.Data) == 0 && p.ContentType == "" }

func payloadOf(it *lessorpb.Payload) Payload {
	payload := Payload{ContentType: it.GetContentType(), Encoding: it.GetEncoding()}
	switch body := it.GetBody().(type) {
	case *lessorpb.Payload_Data:
		payload.Data = body.Data
	case *lessorpb.Payload_Json:
		// A value that came over the wire can be written.
		payload.Data, _ = protojson.Marshal(body.Json)
	}
	return payload
}

func (p Payload) message() *lessorpb.Payload {
	return &lessorpb.Payload{
		Body:        &lessorpb.Payload_Data{Data: p.Data},
		ContentType: p.ContentType,
		Encoding:    p.Encoding,
	}
}

// payloadFrom writes data as the protocol has it; nil for none.
func payloadFrom(data any) (*lessorpb.Payload, error) {
	switch data := data.(type) {
	case nil:
		return nil, nil
	case Payload:
		return data.message(), nil
	case *Payload:
		if data == nil {
			return nil, nil
		}
		return data.message(), nil
	case []byte:
		return Payload{Data: data, ContentType: typeBytes}.message(), nil
	}
	written, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("lessor: data that is no JSON: %w", err)
	}
	return Payload{Data: written, ContentType: typeJSON}.message(), nil
}

// spanOf is a duration as the protocol has it: 0 is unset, and [None] is 0.
func spanOf(span time.Duration) *durationpb.Duration {
	switch {
	case span == 0:
		return nil
	case span < 0:
		return &durationpb.Duration{}
	}
	return durationpb.New(span)
}

// momentOf is a time as the protocol has it; the zero time is unset.
func momentOf(moment time.Time) *timestamppb.Timestamp {
	if moment.IsZero() {
		return nil
	}
	return timestamppb.New(moment)
}

func timeOf(it *timestamppb.Timestamp) time.Time {
	if it == nil {
		return time.Time{}
	}
	return it.AsTime()
}
