// vecmath_coefficients.h: the polynomials behind vecmath_avx2.h and vecmath_avx512.h. Both
// evaluate them by the same fused operations in the same order, so that the two give equal bits.
//
// Each is a near-minimax fit at Chebyshev nodes in 40 digits, rounded to float afterwards; highest
// power first.
#ifndef L3V_CPU_VECMATH_COEFFICIENTS_H
#define L3V_CPU_VECMATH_COEFFICIENTS_H

namespace l3v::cpu {

// exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln(2)/2, r = x - n ln 2 with ln 2 cut in two
// (Cody & Waite 1980): the high part has 9 bits, so n * high is exact.
// exp(r) = 1 + r + r^2 q(r); the fit is off by 8e-9 relative.
constexpr float kLog2E = 1.44269504f;
constexpr float kLn2High = 0.693359375f;
constexpr float kLn2Low = -2.12194440e-4f;
constexpr float kExp[5] = {1.392621314e-03f, 8.363203146e-03f, 4.166655615e-02f, 1.666657627e-01f,
                           5.000000000e-01f};
// Below the first bound exp is under half the least denormal, above the second over the largest float.
constexpr float kExpMin = -104.0f, kExpMax = 89.0f;

// erf(x) = x P(x^2) for |x| <= 1, off by 1.2e-9.
constexpr float kErfSmall[7] = {7.875874871e-05f, -8.016864303e-04f, 5.189087242e-03f,
                                -2.685421146e-02f, 1.128359437e-01f, -3.761262596e-01f,
                                1.128379107e+00f};
// |erf(x)| = 1 - exp(-Q(|x|)) for 1 < |x| <= 4, Q = -ln erfc, off by 1.7e-8; 1 in float beyond.
constexpr float kErfLarge[9] = {-1.637151399e-06f, 4.605804133e-05f, -5.968056503e-04f,
                                4.759596195e-03f,  -2.642113529e-02f, 1.100800857e-01f,
                                6.318260431e-01f,  1.130233407e+00f,  -3.201380605e-04f};

// GELU by tanh is x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3), as 1 + tanh u = 2 sigmoid(2u):
// no cancellation for negative x. 2u = x (kGelu1 + kGelu3 x^2).
constexpr float kGelu1 = 1.595769122f;
constexpr float kGelu3 = 0.0713548163f;
constexpr float kGeluQuick = 1.702f;
constexpr float kInvSqrt2 = 0.707106781f;

}  // namespace l3v::cpu
#endif
