//! Loops over numbers side by side: what [`dot`](crate::dot) and [`cluster`](crate::cluster) are made of.
//!
//! Every sum is of terms in the order given, without fused multiply-add, so that each machine computes the same bits. Natively
//! the compiler turns the loops into vector registers; the app is optimized for size when it is linked, which leaves them loops,
//! so there the registers are named.

/// Sums side by side.
pub(crate) const LANES: usize = 16;
/// The same in f64.
pub(crate) const WIDE_LANES: usize = 8;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use portable::{Sums, WideSums, add_widened, first_of_largest};
#[cfg(target_arch = "wasm32")]
pub(crate) use simd128::{Sums, WideSums, add_widened, first_of_largest};

/// The larger of two numbers, the second of equals.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[cfg(not(target_arch = "wasm32"))]
mod portable {
    use super::{LANES, WIDE_LANES, larger};

    /// Adds `values[i]` to every sum.
    #[inline(always)]
    pub(crate) fn add_widened(sums: &mut [f64], values: &[f32]) {
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(*value));
    }

    /// Where the largest of some numbers first stands, and which it is; of none, 0 and −∞. Two passes, each of which the compiler
    /// does in registers.
    #[inline(always)]
    pub(crate) fn first_of_largest(values: &[f32]) -> (u32, f32) {
        let (chunks, rest) = values.as_chunks::<LANES>();
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] = larger(chunk[lane], lanes[lane]);
            }
        }
        let largest = lanes.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, larger);
        let first = values.iter().position(|&value| value == largest).unwrap_or(0);
        (first as u32, largest)
    }

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

    /// The sums in f64, zero at first.
    #[derive(Clone, Copy, Default)]
    pub(crate) struct WideSums([f64; WIDE_LANES]);

    impl WideSums {
        /// Adds `(x[i] − y[i])²` to every sum.
        #[inline(always)]
        pub(crate) fn add_squared_differences(&mut self, x: &[f32; WIDE_LANES], y: &[f32; WIDE_LANES]) {
            for lane in 0..WIDE_LANES {
                let difference = f64::from(x[lane]) - f64::from(y[lane]);
                self.0[lane] += difference * difference;
            }
        }

        #[inline(always)]
        pub(crate) fn to_array(self) -> [f64; WIDE_LANES] {
            self.0
        }
    }
}

#[cfg(target_arch = "wasm32")]
mod simd128 {
    use std::arch::wasm32::{
        f32x4_add, f32x4_eq, f32x4_mul, f32x4_pmax, f32x4_splat, f64x2_add, f64x2_mul, f64x2_promote_low_f32x4,
        f64x2_splat, f64x2_sub, i32x4_bitmask, v128, v128_load, v128_load64_zero, v128_store,
    };

    use super::{LANES, WIDE_LANES, larger};

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

    #[inline(always)]
    fn lanes_of(registers: [v128; N]) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        for (i, register) in registers.into_iter().enumerate() {
            // SAFETY: sixteen f32 are four registers of 16 bytes; stores ask for no alignment.
            unsafe { v128_store(lanes.as_mut_ptr().add(4 * i).cast::<v128>(), register) };
        }
        lanes
    }

    /// Two numbers in f64.
    #[inline(always)]
    fn widened(values: &[f32; 2]) -> v128 {
        // SAFETY: two f32 are the lower half of a register; loads ask for no alignment.
        f64x2_promote_low_f32x4(unsafe { v128_load64_zero(values.as_ptr().cast::<u64>()) })
    }

    /// Adds `values[i]` to every sum.
    #[inline(always)]
    pub(crate) fn add_widened(sums: &mut [f64], values: &[f32]) {
        let (pairs, rest) = values.as_chunks::<2>();
        let (sum_pairs, rest_sums) = sums.split_at_mut(2 * pairs.len());
        for (sums, values) in sum_pairs.as_chunks_mut::<2>().0.iter_mut().zip(pairs) {
            let sums = sums.as_mut_ptr().cast::<v128>();
            // SAFETY: two f64 are one register of 16 bytes, which need not be aligned.
            unsafe { v128_store(sums, f64x2_add(v128_load(sums), widened(values))) };
        }
        rest_sums.iter_mut().zip(rest).for_each(|(sum, value)| *sum += f64::from(*value));
    }

    /// Where the largest of some numbers first stands, and which it is; of none, 0 and −∞.
    #[inline(always)]
    pub(crate) fn first_of_largest(values: &[f32]) -> (u32, f32) {
        let (chunks, rest) = values.as_chunks::<LANES>();
        let mut largest = [f32x4_splat(f32::NEG_INFINITY); N];
        for chunk in chunks {
            largest.iter_mut().zip(registers(chunk)).for_each(|(largest, x)| *largest = f32x4_pmax(*largest, x));
        }
        let largest = lanes_of(largest).into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, larger);
        let wanted = f32x4_splat(largest);
        for (i, chunk) in chunks.iter().enumerate() {
            for (j, x) in registers(chunk).into_iter().enumerate() {
                let is_it = i32x4_bitmask(f32x4_eq(x, wanted));
                if is_it != 0 {
                    return ((i * LANES + 4 * j) as u32 + is_it.trailing_zeros(), largest);
                }
            }
        }
        let first = rest.iter().position(|&value| value == largest).map_or(0, |at| values.len() - rest.len() + at);
        (first as u32, largest)
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
            lanes_of(self.0)
        }
    }
    /// The sums in f64, zero at first.
    #[derive(Clone, Copy)]
    pub(crate) struct WideSums([v128; WIDE_LANES / 2]);

    impl Default for WideSums {
        #[inline(always)]
        fn default() -> Self {
            Self([f64x2_splat(0.0); WIDE_LANES / 2])
        }
    }

    impl WideSums {
        /// Adds `(x[i] − y[i])²` to every sum.
        #[inline(always)]
        pub(crate) fn add_squared_differences(&mut self, x: &[f32; WIDE_LANES], y: &[f32; WIDE_LANES]) {
            let (x, y) = (x.as_chunks::<2>().0, y.as_chunks::<2>().0);
            for ((sum, x), y) in self.0.iter_mut().zip(x).zip(y) {
                let difference = f64x2_sub(widened(x), widened(y));
                *sum = f64x2_add(*sum, f64x2_mul(difference, difference));
            }
        }

        #[inline(always)]
        pub(crate) fn to_array(self) -> [f64; WIDE_LANES] {
            let mut lanes = [0.0; WIDE_LANES];
            for (register, lanes) in self.0.into_iter().zip(lanes.as_chunks_mut::<2>().0) {
                // SAFETY: two f64 are one register of 16 bytes; stores ask for no alignment.
                unsafe { v128_store(lanes.as_mut_ptr().cast::<v128>(), register) };
            }
            lanes
        }
    }
}
