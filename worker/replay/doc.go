// Package replay deals with dead letters on behalf of an operator: it chooses them, forecasts what would become of each now,
// and has workers process them again or put them aside.
//
// Nothing of an event passes through here. A campaign publishes orders, which name dead letters by their sequences, and
// learns from the states that workers keep what became of them. So it may end at any time and be started again: what was
// dealt with is not open any more.
package replay
