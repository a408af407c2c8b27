package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// table is a Markdown table that is filled column by column, with notes below.
type table struct {
	columns []string
	rows    [][]string // the first cells are the row's key
	notes   []string
}

// set fills the last column's cell in the row of this key.
func (t *table) set(cell string, key ...string) {
	i := slices.IndexFunc(t.rows, func(row []string) bool { return slices.Equal(row[:len(key)], key) })
	if i < 0 {
		i = len(t.rows)
		t.rows = append(t.rows, slices.Clone(key))
	}
	for len(t.rows[i]) < len(t.columns)-1 {
		t.rows[i] = append(t.rows[i], "–")
	}
	t.rows[i] = append(t.rows[i], cell)
}

// note gives the mark of a remark; the same remark is made once.
func (t *table) note(remark string) string {
	i := slices.Index(t.notes, remark)
	if i < 0 {
		i = len(t.notes)
		t.notes = append(t.notes, remark)
	}
	return fmt.Sprintf(" [%d]", i+1)
}

func (t *table) write(page *bytes.Buffer) {
	fmt.Fprintf(page, "| %s |\n|%s\n", strings.Join(t.columns, " | "), strings.Repeat("---|", len(t.columns)))
	for _, row := range t.rows {
		for len(row) < len(t.columns) {
			row = append(row, "–")
		}
		fmt.Fprintf(page, "| %s |\n", strings.Join(row, " | "))
	}
	for i, remark := range t.notes {
		if i == 0 {
			fmt.Fprintln(page)
		}
		fmt.Fprintf(page, "- [%d] %s\n", i+1, remark)
	}
}
