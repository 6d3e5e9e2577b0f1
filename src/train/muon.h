/* Muon (Jordan and others 2024) for one matrix that multiplies: Lion's step with the matrix's sign in the place of the
 * numbers' signs. With u = beta1 m + (1 - beta1) g = U S V^T, msign(u) = U V^T, by five rounds of a Newton-Schulz
 * iteration from u over its Frobenius norm,
 *     x <- (a + b x x^T + c (x x^T)^2) x,  a = 3.4445, b = -4.7750, c = 2.0315
 * which leaves singular values between some 0.7 and 1.2, enough for a direction. Matrices of more rows than columns go
 * through x^T x. Nesterov's momentum mu is beta1 = mu^2, beta2 = mu.
 *
 * msign(u) of an r x c matrix has a root mean square of 1 / sqrt(max(r, c)); it is multiplied by that root, so that a
 * number moves by lr, as with Lion, and one rate serves a model whose other parameters Lion moves. */
#ifndef QUIRE_TRAIN_MUON_H
#define QUIRE_TRAIN_MUON_H

#include "net.h"

struct muon;

/* Bytes for a net so planned: the iteration's four matrices. */
uint64_t muon_memory(const struct net_memory *memory);

/* net must outlive it. Errors: NO_MEMORY. */
quire_status muon_open(struct muon **out, struct net *net, quire_error *err);
void muon_close(struct muon *muon); /* NULL is fine */

struct muon_rates {
    float lr, keep; /* keep: what is left of the weights, before the step */
    float beta1, rest1, beta2, rest2;
};

/* One step of a parameter that is_linear. m: [param->n], its momentum, which goes on as Lion's. */
void muon_step(struct muon *muon, const struct param *param, float *m, const struct muon_rates *rates);

#endif
