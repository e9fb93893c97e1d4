"""Use cases: functions over values, for every face (a terminal, a web page).

A use case takes a `Context` (what it may see of this computer, and who observes), returns values or raises a typed
error, and never prints, asks or reads a terminal. What a person must confirm comes back as a value
(`needs_confirmation`) before anything is sent; what a person may run next is a `Hint`. `start`, `resume`, `retry` and
`cancel` return a `Drive`: the face awaits its `run()`, and may `interrupt()` it.
"""
