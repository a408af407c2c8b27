package owner

// cache is a bounded map that forgets what was not used lately: when the young generation is full it
// becomes the old one, whose unused entries are dropped. It holds at most 2 × limit entries. In steady
// state it does not allocate, because clear keeps a map's memory.
type cache[K comparable, V any] struct {
	young, old map[K]V
	limit      int
}

func newCache[K comparable, V any](limit int) *cache[K, V] {
	return &cache[K, V]{young: make(map[K]V), old: make(map[K]V), limit: limit}
}

func (c *cache[K, V]) get(key K) (value V, ok bool) {
	if value, ok = c.young[key]; ok {
		return value, true
	}
	if value, ok = c.old[key]; ok {
		c.put(key, value)
	}
	return value, ok
}

func (c *cache[K, V]) put(key K, value V) {
	if _, ok := c.young[key]; !ok && len(c.young) >= c.limit {
		c.young, c.old = c.old, c.young
		clear(c.young)
	}
	c.young[key] = value
}

func (c *cache[K, V]) len() int { return len(c.young) + len(c.old) }
