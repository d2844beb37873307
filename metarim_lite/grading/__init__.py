"""Grading: points for answers that nobody trusts.

A submission is a program by a stranger. It may be broken, endless, or written to get points that it has not earned, and
it must not take points from anybody else. So every file of this room stands on one side of a boundary:

    submissions   files that were handed in -> (student, notebook as bytes). Nothing is unpacked, no link is followed.
    answers       bytes -> the statements that an exercise's answer needs. Nothing is executed.
    ------------- what follows is executed, in another process ---------------------------------------------------------
    nursery       the child's side: starts with torch, once; then a process for every answer, which it walls in first
    walls         what such a process cannot do: files, network, programs, signals, memory, time
    wire          the one thing that crosses the boundary: plain values and raw arrays; no pickle, nothing that runs
    ------------- and back ---------------------------------------------------------------------------------------------
    sandbox       the parent's side: asks, waits as long as it wants to, believes no length, ends what is left
    judging       draws the inputs, *after* the answer has been loaded, and compares; the verdict is made here alone
    classroom     many students: in parallel, only what changed, and nothing twice
    reports       grades.csv, a page for each student, a summary

The rule of all of it: what a child says is data. Points come from arrays that are right, and from nothing else; the
default is 0 and a sentence that says why.
"""
