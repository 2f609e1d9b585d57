package ccs

import (
	"fmt"
	"strings"
)

// suggest returns the candidate that the user probably meant, or "".
func suggest(word string, candidates []string) string {
	best, bestDistance := "", len(word)/3+1
	for _, c := range candidates {
		d := distance(strings.ToLower(word), strings.ToLower(c))
		if d <= bestDistance && d < len(c) && (best == "" || d < bestDistance) {
			best, bestDistance = c, d
		}
	}
	return best
}

// didYouMean renders the cure for an unknown word.
func didYouMean(word string, candidates []string, otherwise string) string {
	if best := suggest(word, candidates); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return otherwise
}

// orDidYouMean is didYouMean for names of the user's own, of which a similar
// one is often right: lk4 is no misspelt lk3.
func orDidYouMean(word string, candidates []string, cure string) string {
	if best := suggest(word, candidates); best != "" {
		return fmt.Sprintf("%s; or did you mean %q?", cure, best)
	}
	return cure
}

// distance counts the letters to insert, remove, replace or swap with their
// neighbour to get from a to b.
func distance(a, b string) int {
	before, above := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}
