package otlp

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

func TestNamesAreThoseOfTheConventions(t *testing.T) {
	for ours, theirs := range map[string]attribute.Key{
		attrClientAddress:      semconv.ClientAddressKey,
		attrClientPort:         semconv.ClientPortKey,
		attrConnectionState:    semconv.NetworkConnectionStateKey,
		attrContainerID:        semconv.ContainerIDKey,
		attrContainerRuntime:   semconv.ContainerRuntimeNameKey,
		attrDestinationAddress: semconv.DestinationAddressKey,
		attrDestinationPort:    semconv.DestinationPortKey,
		attrErrorType:          semconv.ErrorTypeKey,
		attrExecutableName:     semconv.ProcessExecutableNameKey,
		attrFunctionName:       semconv.CodeFunctionNameKey,
		attrInterfaceName:      semconv.NetworkInterfaceNameKey,
		attrIODirection:        semconv.NetworkIODirectionKey,
		attrLocalAddress:       semconv.NetworkLocalAddressKey,
		attrLocalPort:          semconv.NetworkLocalPortKey,
		attrMethod:             semconv.HTTPRequestMethodKey,
		attrMethodOriginal:     semconv.HTTPRequestMethodOriginalKey,
		attrNetworkType:        semconv.NetworkTypeKey,
		attrPeerAddress:        semconv.NetworkPeerAddressKey,
		attrPeerPort:           semconv.NetworkPeerPortKey,
		attrPID:                semconv.ProcessPIDKey,
		attrPodUID:             semconv.K8SPodUIDKey,
		attrProtocolName:       semconv.NetworkProtocolNameKey,
		attrProtocolVersion:    semconv.NetworkProtocolVersionKey,
		attrRequestBodySize:    semconv.HTTPRequestBodySizeKey,
		attrResponseBodySize:   semconv.HTTPResponseBodySizeKey,
		attrRPCMethod:          semconv.RPCMethodKey,
		attrRPCSystem:          semconv.RPCSystemNameKey,
		attrServerAddress:      semconv.ServerAddressKey,
		attrServerPort:         semconv.ServerPortKey,
		attrServiceName:        semconv.ServiceNameKey,
		attrSourceAddress:      semconv.SourceAddressKey,
		attrSourcePort:         semconv.SourcePortKey,
		attrStacktrace:         semconv.CodeStacktraceKey,
		attrStatusCode:         semconv.HTTPResponseStatusCodeKey,
		attrTransport:          semconv.NetworkTransportKey,
		attrURLFull:            semconv.URLFullKey,
		attrURLPath:            semconv.URLPathKey,
		attrURLQuery:           semconv.URLQueryKey,
		attrURLScheme:          semconv.URLSchemeKey,
		attrUserAgent:          semconv.UserAgentOriginalKey,
	} {
		assert.EqualValues(t, theirs, ours)
	}
	theirs := map[string]bool{}
	for _, state := range []attribute.KeyValue{
		semconv.NetworkConnectionStateEstablished, semconv.NetworkConnectionStateSynSent, semconv.NetworkConnectionStateSynReceived,
		semconv.NetworkConnectionStateFinWait1, semconv.NetworkConnectionStateFinWait2, semconv.NetworkConnectionStateTimeWait,
		semconv.NetworkConnectionStateClosed, semconv.NetworkConnectionStateCloseWait, semconv.NetworkConnectionStateLastAck,
		semconv.NetworkConnectionStateListen, semconv.NetworkConnectionStateClosing,
	} {
		theirs[state.Value.AsString()] = true
	}
	for _, state := range connectionStates[1:] {
		assert.True(t, theirs[state], state)
	}
}
