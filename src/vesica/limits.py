"""Every bound in one place, unit last. What is not bounded here is bounded by something that is."""

from typing import Final

# The agreement
AGREEMENT_BYTES_MAX: Final = 64 * 2**10
PARTIES_MAX: Final = 12  # the room holds one integer for each of the 2**n cells of the Venn diagram
PARTIES_MIN: Final = 2
KEY_COLUMNS_MAX: Final = 16
NAME_CHARACTERS_MAX: Final = 64
COLUMN_NAME_CHARACTERS_MAX: Final = 128
NORMALISERS_MAX: Final = 8

# Budgets, in nano-epsilon (1e-9). Above 100 a limit protects nobody; below 1e-6 a release is a billion wide.
NANO: Final = 10**9
EPSILON_LIMIT_NANO_MAX: Final = 100 * NANO
EPSILON_RELEASE_NANO_MIN: Final = 1_000
EPSILON_TEXT_CHARACTERS_MAX: Final = 40

# A submission
SUBMISSION_BYTES_MAX: Final = 16 * 2**30
SUBMISSION_ROWS_MAX: Final = 2**30
VALUE_BYTES_MAX: Final = 4 * 2**10  # an id longer than this is a mistake; it also bounds the work of keying a block
HEADER_BYTES_MAX: Final = 16 * 2**10
BLOCK_BYTES: Final = 2**21  # parsed at once: the fewer blocks, the less often a thread waits for the interpreter's lock
HANDED_OVER_BYTES: Final = BLOCK_BYTES  # what the event loop hands to a submission's thread at once
HANDED_OVER_MAX: Final = 8  # how many of those are with the thread at once
RECORD_BYTES_MAX: Final = 2**18  # most often met by a quote that is never closed

# A room
THREADS_MAX: Final = 16  # for sorting and linking; more would wait for memory
RELEASES_MAX: Final = 100_000  # stored answers; budgets end long before

# Time. Answers about data leave at whole multiples of a step after the request, never "when ready" (promise P6).
RELEASE_STEP_SECONDS: Final = 0.1
OPEN_STEP_SECONDS: Final = 0.25  # the first moment at which a room may open after the last submission; then it doubles
OPEN_WAIT_SECONDS_MAX: Final = 30.0
HEADER_SECONDS_MAX: Final = 10.0
BODY_SECONDS_MAX: Final = 10.0
BODY_IDLE_SECONDS_MAX: Final = 20.0
SUBMISSION_GRACE_SECONDS: Final = 60.0
SUBMISSION_BYTES_PER_SECOND_MIN: Final = 16 * 2**10  # on average, after the grace
KEEP_ALIVE_SECONDS_MAX: Final = 10
WRITE_SECONDS_MAX: Final = 60.0  # for a client to take the answers that wait for it

# Evidence
ATTESTATIONS_WAITING_MAX: Final = 32  # requests for evidence at once; hardware answers one after the other

# HTTP
ANSWER_PIECE_BYTES: Final = 64 * 2**10  # of a long answer, that wait for a client to read what came before
JSON_BODY_BYTES_MAX: Final = 16 * 2**10
RECEIVE_BYTES: Final = 256 * 2**10  # read from a connection at once
HEADERS_BYTES_MAX: Final = 32 * 2**10
HEADERS_COUNT_MAX: Final = 100
CONNECTIONS_MAX: Final = 1_000  # handshakes that are not finished included
CONNECTION_BYTES_MAX: Final = 2 * 2**20  # memory for one, whatever it sends or does not read; an idle one takes 0.3 MB
PIPELINED_MAX: Final = 32  # requests of one connection that wait for the answers before theirs
DISCARDED_BODY_BYTES_MAX: Final = (
    4 * 2**20
)  # read and thrown away after an early refusal, so that the client can read it
FORM_OVERHEAD_BYTES_MAX: Final = 16 * 2**10  # boundaries and part headers of a multipart submission
TOKEN_BITS: Final = 256

# The process
ACCEPTED_AT_ONCE_MAX: Final = (
    16  # connections, before those that are in have their turn: a handshake takes a millisecond
)
ACCEPT_RETRY_SECONDS: Final = 1.0  # after the system had no descriptor or memory left
BACKLOG_MAX: Final = 256  # connections that the kernel holds until they are accepted
DESCRIPTORS_RESERVED: Final = 64  # for all that is no connection; with CONNECTIONS_MAX, what a room may have open
HANDSHAKE_SECONDS_MAX: Final = 10.0
LOG_BURST_MAX: Final = 50  # lines of one kind, of those that a request can cause; then one in LOG_REPEAT_SECONDS
LOG_REPEAT_SECONDS: Final = 10.0
# How long the event loop waits for a thread that computes to hand over Python's lock; it waits several times an answer.
THREAD_SWITCH_SECONDS: Final = 0.0005
