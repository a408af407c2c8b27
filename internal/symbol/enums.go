package symbol

import "strings"

// Enums are names of enum values of the running kernel, by enum ("skb_drop_reason") and value.
type Enums map[string]map[uint32]string

// EnumName gives the name of a value, such as SKB_DROP_REASON_NETFILTER_DROP; see wire.Facts.
func (e Enums) EnumName(enum string, value uint32) (name string, ok bool) {
	name, ok = e[enum][value]
	return name, ok
}

// ReasonName is the part of a reason's name that says something: SKB_DROP_REASON_NETFILTER_DROP and
// SK_RST_REASON_NO_SOCKET become NETFILTER_DROP and NO_SOCKET. Names of subsystems with their own
// prefix (enum skb_drop_reason_subsys in include/net/dropreason.h) stay whole.
func ReasonName(name string) string {
	for _, prefix := range []string{"SKB_DROP_REASON_", "SK_RST_REASON_"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "" {
			return rest
		}
	}
	return name
}
