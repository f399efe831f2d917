// The close codes of a link, and what each means for the session it carries (protocol §codes).
//
// An application's own codes never appear here: they travel inside the session, as its last item.

/**
 * This end gives the link up and the session lives on. Not 1000: behind an acknowledged end of the stream that
 * would say that the acknowledgement arrived, and the gateway would forget the session.
 */
export const LEFT = 4000;
/** A protocol fault: whoever meets it cannot go on, and a resume would only repeat it. */
export const FAULT = 4900;
/** Another link of this session is newer. */
export const SUPERSEDED = 4901;
/** An item is missing before this one. */
export const GAP = 4902;
/** The login was refused. */
export const REFUSED = 4903;
/** The login expired; a new credential may still save the session. */
export const EXPIRED = 4904;
/** No such session, or it is too old. */
export const UNKNOWN_SESSION = 4905;
/** The two ends no longer agree on what was delivered. */
export const LOST_SESSION = 4906;
/** A message or chunk above the agreed size. */
export const TOO_BIG = 4911;

/** Codes that end the session when they close the highest link that the client has numbered. */
const FINAL: ReadonlySet<number> = new Set([
  FAULT,
  SUPERSEDED,
  GAP,
  REFUSED,
  UNKNOWN_SESSION,
  LOST_SESSION,
  4907, // The session's buffer overflowed.
  TOO_BIG,
  4912, // The backend refused the first connection.
]);

/** Whether a link closed with `code` takes its session along. */
export const isFinal = (code: number): boolean => FINAL.has(code);
