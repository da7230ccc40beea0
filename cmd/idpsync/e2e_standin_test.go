package main

// standIns are small programs that the test binary becomes when it is started under another name.
var standIns = map[string]func([]string) int{}
