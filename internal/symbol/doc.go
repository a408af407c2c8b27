// Package symbol names what the kernel gives as numbers: addresses, through /proc/kallsyms, and values
// of enums, through tables that the caller took from the running kernel's BTF.
package symbol
