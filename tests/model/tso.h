/* tso.h – x86's memory for the models: each process's stores wait in a FIFO, and memory takes them when it likes.
 * A fence waits until the process's FIFO is empty. A process that is killed leaves its FIFO behind: what it has stored arrives.
 * System calls are not taken for fences. Everybody reads memory; a process knows its own words by heart. */
#define STORE(fifo, word, value) fifo!word, value
#define FENCE(fifo) (empty(fifo))
#ifndef WORDS
#define WORDS 8
#endif
byte m[WORDS];
