//! Sixteen running sums side by side: what [`dot`](crate::dot) and the products of [`cluster`](crate::cluster) are made of.
//!
//! Every sum is of products in the order given, without fused multiply-add, so that each machine computes the same bits. Natively
//! the compiler turns the loops into vector registers; the app is optimized for size when it is linked, which leaves them loops,
//! so there the registers are named.

/// Sums side by side.
pub(crate) const LANES: usize = 16;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use portable::Sums;
#[cfg(target_arch = "wasm32")]
pub(crate) use simd128::Sums;

#[cfg(not(target_arch = "wasm32"))]
mod portable {
    use super::LANES;

    /// The sums, zero at first.
    #[derive(Clone, Copy, Default)]
    pub(crate) struct Sums([f32; LANES]);

    impl Sums {
        /// Adds `x[i]·y[i]` to every sum.
        #[inline(always)]
        pub(crate) fn add_products(&mut self, x: &[f32; LANES], y: &[f32; LANES]) {
            self.0.iter_mut().zip(x).zip(y).for_each(|((sum, x), y)| *sum += x * y);
        }

        /// Adds `x·y[i]` to every sum.
        #[inline(always)]
        pub(crate) fn add_scaled(&mut self, x: f32, y: &[f32; LANES]) {
            self.0.iter_mut().zip(y).for_each(|(sum, y)| *sum += x * y);
        }

        #[inline(always)]
        pub(crate) fn to_array(self) -> [f32; LANES] {
            self.0
        }
    }
}

#[cfg(target_arch = "wasm32")]
mod simd128 {
    use std::arch::wasm32::{f32x4_add, f32x4_mul, f32x4_splat, v128, v128_load, v128_store};

    use super::LANES;

    const N: usize = LANES / 4;

    /// The sums, zero at first.
    #[derive(Clone, Copy)]
    pub(crate) struct Sums([v128; N]);

    impl Default for Sums {
        #[inline(always)]
        fn default() -> Self {
            Self([f32x4_splat(0.0); N])
        }
    }

    #[inline(always)]
    fn registers(lanes: &[f32; LANES]) -> [v128; N] {
        // SAFETY: sixteen f32 are four registers of 16 bytes; loads ask for no alignment.
        std::array::from_fn(|i| unsafe { v128_load(lanes.as_ptr().add(4 * i).cast::<v128>()) })
    }

    impl Sums {
        /// Adds `x[i]·y[i]` to every sum.
        #[inline(always)]
        pub(crate) fn add_products(&mut self, x: &[f32; LANES], y: &[f32; LANES]) {
            let (x, y) = (registers(x), registers(y));
            self.0.iter_mut().zip(x).zip(y).for_each(|((sum, x), y)| *sum = f32x4_add(*sum, f32x4_mul(x, y)));
        }

        /// Adds `x·y[i]` to every sum.
        #[inline(always)]
        pub(crate) fn add_scaled(&mut self, x: f32, y: &[f32; LANES]) {
            let x = f32x4_splat(x);
            self.0.iter_mut().zip(registers(y)).for_each(|(sum, y)| *sum = f32x4_add(*sum, f32x4_mul(x, y)));
        }

        #[inline(always)]
        pub(crate) fn to_array(self) -> [f32; LANES] {
            let mut lanes = [0.0; LANES];
            for (i, register) in self.0.into_iter().enumerate() {
                // SAFETY: sixteen f32 are four registers of 16 bytes; stores ask for no alignment.
                unsafe { v128_store(lanes.as_mut_ptr().add(4 * i).cast::<v128>(), register) };
            }
            lanes
        }
    }
}
