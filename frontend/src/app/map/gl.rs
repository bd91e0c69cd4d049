//! The map drawn by the graphics processor: points are summed in a texture of floats, and a second pass turns sums into colors
//! and opacities, as `whence_shared::plane::raster` does.
//!
//! Where a processor pretends to be one, drawing by `raster` is many times faster: such contexts are refused by what they call
//! themselves, and those that turn out slow are given up ([`GlPainter::is_slow`]).

use js_sys::{Float32Array, Object, Reflect, Uint8Array};
use wasm_bindgen::JsCast;
use web_sys::{
    HtmlCanvasElement, WebGl2RenderingContext as Gl, WebGlBuffer, WebGlFramebuffer, WebGlProgram, WebGlTexture,
    WebGlUniformLocation, WebGlVertexArrayObject,
};
use whence_shared::plane::grid::Grid;
use whence_shared::plane::raster::LIT_WEIGHT;
use whence_shared::plane::viewport::{Viewport, Window};

use super::colors::Colors;
use super::painter::Picture;
use crate::ranker::now_ms;

/// Where points are, seen through the window: from −1 to 1.
const PLACED: &str = "
    uniform vec2 center;
    uniform vec2 scale;
    uniform float size;
    layout(location = 0) in vec2 at;
";

const POINT: &str = "
    layout(location = 1) in float color;
    uniform sampler2D tints;
    out vec4 tint;
    void main() {
        gl_Position = vec4((at - center) * scale, 0.0, 1.0);
        gl_PointSize = size + 1.0;
        tint = texelFetch(tints, ivec2(int(color), 0), 0);
    }";

const ADD: &str = "
    uniform float size;
    in vec4 tint;
    out vec4 sum;
    void main() {
        float far = length(gl_PointCoord - 0.5) * (size + 1.0);
        float weight = clamp(size * 0.5 + 0.5 - far, 0.0, 1.0) * tint.a;
        sum = vec4(tint.rgb * weight, weight);
    }";

const EVERYWHERE: &str = "
    void main() {
        vec2 corner = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
        gl_Position = vec4(corner, 0.0, 1.0);
    }";

const RESOLVE: &str = "
    uniform sampler2D sums;
    uniform float least;
    uniform float full;
    out vec4 pixel;
    void main() {
        vec4 sum = texelFetch(sums, ivec2(gl_FragCoord.xy), 0);
        float share = log(1.0 + max(sum.a - 1.0, 0.0)) / max(log(full), 1e-9);
        float opacity = clamp(min(sum.a, 1.0) * (least + (1.0 - least) * share), 0.0, 1.0);
        pixel = sum.a > 0.0 ? vec4(sum.rgb / sum.a * opacity, opacity) : vec4(0.0);
    }";

const DOT: &str = "
    void main() {
        gl_Position = vec4((at - center) * scale, 0.0, 1.0);
        gl_PointSize = size + 4.0;
    }";

const FILL: &str = "
    uniform float size;
    uniform vec3 fill;
    uniform vec3 rim;
    out vec4 pixel;
    void main() {
        float far = length(gl_PointCoord - 0.5) * (size + 4.0);
        float outer = clamp(size * 0.5 + 1.5 - far, 0.0, 1.0);
        float inner = clamp(size * 0.5 + 0.5 - far, 0.0, 1.0);
        pixel = vec4(mix(rim, fill, inner) * outer, outer);
    }";

/// `UNMASKED_RENDERER_WEBGL` of `WEBGL_debug_renderer_info`.
const RENDERER: u32 = 0x9246;
/// What processors that pretend to be graphics processors call themselves.
const PRETENDERS: [&str; 4] = ["swiftshader", "llvmpipe", "software", "basic render"];
/// Pictures that are timed, the first of which also compiles.
const N_TIMED: usize = 4;
/// A picture that takes longer is slow, in milliseconds.
const SLOW_MS: f64 = 25.0;

/// A program with its uniforms by name.
struct Program {
    program: WebGlProgram,
}

impl Program {
    fn of(gl: &Gl, vertex: &str, fragment: &str) -> Option<Self> {
        let program = gl.create_program()?;
        for (kind, source) in [(Gl::VERTEX_SHADER, vertex), (Gl::FRAGMENT_SHADER, fragment)] {
            let shader = gl.create_shader(kind)?;
            gl.shader_source(
                &shader,
                &format!("#version 300 es\nprecision highp float;\nprecision highp sampler2D;\n{source}"),
            );
            gl.compile_shader(&shader);
            gl.attach_shader(&program, &shader);
        }
        gl.link_program(&program);
        let is_linked = gl.get_program_parameter(&program, Gl::LINK_STATUS).as_bool() == Some(true);
        is_linked.then_some(Self { program })
    }

    fn at(&self, gl: &Gl, name: &str) -> Option<WebGlUniformLocation> {
        gl.get_uniform_location(&self.program, name)
    }
}

/// What draws on one canvas.
pub struct GlPainter {
    canvas: HtmlCanvasElement,
    gl: Gl,
    points: Program,
    resolve: Program,
    dots: Program,
    of_points: WebGlVertexArrayObject,
    of_dots: WebGlVertexArrayObject,
    nothing: WebGlVertexArrayObject,
    at: WebGlBuffer,
    color: WebGlBuffer,
    dot_at: WebGlBuffer,
    tints: WebGlTexture,
    sums: WebGlTexture,
    frame: WebGlFramebuffer,
    /// Format of the sums.
    format: u32,
    size: (i32, i32),
    n_points: i32,
    n_dots: i32,
    /// Milliseconds of the first pictures, until they were done.
    times_ms: Vec<f64>,
}

impl GlPainter {
    /// On a canvas; `None` where there is no graphics processor that can, unless it is asked for anyway.
    pub fn new(canvas: &HtmlCanvasElement, is_asked_for: bool) -> Option<Self> {
        let options = Object::new();
        let refuses = ("failIfMajorPerformanceCaveat", !is_asked_for);
        for (key, value) in [("antialias", false), ("depth", false), ("stencil", false), refuses] {
            Reflect::set(&options, &key.into(), &value.into()).ok()?;
        }
        let gl = canvas.get_context_with_context_options("webgl2", &options).ok()??.dyn_into::<Gl>().ok()?;
        let has = |name: &str| gl.get_extension(name).is_ok_and(|extension| extension.is_some());
        if !is_asked_for && has("WEBGL_debug_renderer_info") {
            let name = gl.get_parameter(RENDERER).ok().and_then(|name| name.as_string()).unwrap_or_default();
            let name = name.to_lowercase();
            if PRETENDERS.iter().any(|pretender| name.contains(pretender)) {
                return None;
            }
        }
        // Sums need floats that can be added to: whole ones, or halves, which lose count in the thickest crowds.
        let has_floats = has("EXT_color_buffer_float");
        let format = match (has_floats && has("EXT_float_blend"), has_floats || has("EXT_color_buffer_half_float")) {
            (true, _) => Gl::RGBA32F,
            (false, true) => Gl::RGBA16F,
            _ => return None,
        };
        Some(Self {
            points: Program::of(&gl, &format!("{PLACED}{POINT}"), ADD)?,
            resolve: Program::of(&gl, EVERYWHERE, RESOLVE)?,
            dots: Program::of(&gl, &format!("{PLACED}{DOT}"), FILL)?,
            of_points: gl.create_vertex_array()?,
            of_dots: gl.create_vertex_array()?,
            nothing: gl.create_vertex_array()?,
            at: gl.create_buffer()?,
            color: gl.create_buffer()?,
            dot_at: gl.create_buffer()?,
            tints: gl.create_texture()?,
            sums: gl.create_texture()?,
            frame: gl.create_framebuffer()?,
            format,
            size: (0, 0),
            n_points: 0,
            n_dots: 0,
            times_ms: Vec::new(),
            canvas: canvas.clone(),
            gl,
        })
    }

    /// Takes up the points of a map.
    pub fn set_points(&mut self, grid: &Grid) {
        let gl = &self.gl;
        gl.bind_vertex_array(Some(&self.of_points));
        fill(gl, &self.at, &Float32Array::from(grid.points()));
        gl.enable_vertex_attrib_array(0);
        gl.vertex_attrib_pointer_with_i32(0, 2, Gl::FLOAT, false, 0, 0);
        self.n_points = grid.len() as i32;
    }

    /// Takes up their colors.
    pub fn set_colors(&mut self, colors: &Colors) {
        let gl = &self.gl;
        gl.bind_vertex_array(Some(&self.of_points));
        fill(gl, &self.color, &Uint8Array::from(colors.of_places.as_slice()));
        gl.enable_vertex_attrib_array(1);
        gl.vertex_attrib_pointer_with_i32(1, 1, Gl::UNSIGNED_BYTE, false, 0, 0);
        let weight = |is_lit: bool| if is_lit { 255 } else { (255 / LIT_WEIGHT) as u8 };
        let tints: Vec<u8> =
            colors.tints.iter().flat_map(|tint| [tint.rgb[0], tint.rgb[1], tint.rgb[2], weight(tint.is_lit)]).collect();
        gl.bind_texture(Gl::TEXTURE_2D, Some(&self.tints));
        unfiltered(gl);
        let taken = gl.tex_image_2d_with_i32_and_i32_and_i32_and_format_and_type_and_opt_u8_array(
            Gl::TEXTURE_2D,
            0,
            Gl::RGBA8 as i32,
            colors.tints.len() as i32,
            1,
            0,
            Gl::RGBA,
            Gl::UNSIGNED_BYTE,
            Some(&tints),
        );
        debug_assert!(taken.is_ok());
    }

    /// Takes up points that are drawn over the others, by place.
    pub fn set_dots(&mut self, grid: &Grid, places: &[u32]) {
        let gl = &self.gl;
        let at = |place: &u32| grid.point(*place as usize).map(|x| x as f32);
        let at: Vec<f32> = places.iter().flat_map(at).collect();
        gl.bind_vertex_array(Some(&self.of_dots));
        fill(gl, &self.dot_at, &Float32Array::from(at.as_slice()));
        gl.enable_vertex_attrib_array(0);
        gl.vertex_attrib_pointer_with_i32(0, 2, Gl::FLOAT, false, 0, 0);
        self.n_dots = places.len() as i32;
    }

    /// Whether the processor would draw faster: the first pictures after the first all took long.
    pub fn is_slow(&self) -> bool {
        self.times_ms.len() == N_TIMED && self.times_ms[1..].iter().all(|ms| *ms > SLOW_MS)
    }

    /// Draws.
    pub fn draw(&mut self, picture: &Picture) {
        let start_ms = now_ms();
        self.draw_all(picture);
        if self.times_ms.len() < N_TIMED {
            // Reading a pixel waits until all are there.
            let mut pixel = [0; 4];
            let read = self.gl.read_pixels_with_opt_u8_array(0, 0, 1, 1, Gl::RGBA, Gl::UNSIGNED_BYTE, Some(&mut pixel));
            if read.is_ok() {
                self.times_ms.push(now_ms() - start_ms);
            }
        }
    }

    fn draw_all(&mut self, picture: &Picture) {
        self.resize(picture.window);
        let gl = &self.gl;
        let (width, height) = self.size;
        gl.viewport(0, 0, width, height);
        gl.clear_color(0.0, 0.0, 0.0, 0.0);

        gl.bind_framebuffer(Gl::FRAMEBUFFER, Some(&self.frame));
        gl.clear(Gl::COLOR_BUFFER_BIT);
        gl.enable(Gl::BLEND);
        gl.blend_func(Gl::ONE, Gl::ONE);
        place(gl, &self.points, picture.viewport, picture.window, picture.diameter);
        gl.bind_texture(Gl::TEXTURE_2D, Some(&self.tints));
        gl.bind_vertex_array(Some(&self.of_points));
        gl.draw_arrays(Gl::POINTS, 0, self.n_points);

        gl.bind_framebuffer(Gl::FRAMEBUFFER, None);
        gl.clear(Gl::COLOR_BUFFER_BIT);
        gl.disable(Gl::BLEND);
        gl.use_program(Some(&self.resolve.program));
        gl.uniform1f(self.resolve.at(gl, "least").as_ref(), picture.tone.least as f32);
        gl.uniform1f(self.resolve.at(gl, "full").as_ref(), picture.tone.full as f32);
        gl.bind_texture(Gl::TEXTURE_2D, Some(&self.sums));
        gl.bind_vertex_array(Some(&self.nothing));
        gl.draw_arrays(Gl::TRIANGLES, 0, 3);

        if self.n_dots > 0 {
            gl.enable(Gl::BLEND);
            gl.blend_func(Gl::ONE, Gl::ONE_MINUS_SRC_ALPHA);
            place(gl, &self.dots, picture.viewport, picture.window, 2.0 * picture.dot_radius);
            for (name, color) in [("fill", picture.dot_fill), ("rim", picture.dot_rim)] {
                let [r, g, b] = color.map(|channel| f32::from(channel) / 255.0);
                gl.uniform3f(self.dots.at(gl, name).as_ref(), r, g, b);
            }
            gl.bind_vertex_array(Some(&self.of_dots));
            gl.draw_arrays(Gl::POINTS, 0, self.n_dots);
        }
    }

    fn resize(&mut self, window: Window) {
        let size = (window.width as i32, window.height as i32);
        if size == self.size {
            return;
        }
        self.size = size;
        self.canvas.set_width(size.0 as u32);
        self.canvas.set_height(size.1 as u32);
        let gl = &self.gl;
        gl.bind_texture(Gl::TEXTURE_2D, Some(&self.sums));
        unfiltered(gl);
        let kind = if self.format == Gl::RGBA32F { Gl::FLOAT } else { Gl::HALF_FLOAT };
        let taken = gl.tex_image_2d_with_i32_and_i32_and_i32_and_format_and_type_and_opt_u8_array(
            Gl::TEXTURE_2D,
            0,
            self.format as i32,
            size.0,
            size.1,
            0,
            Gl::RGBA,
            kind,
            None,
        );
        debug_assert!(taken.is_ok());
        gl.bind_framebuffer(Gl::FRAMEBUFFER, Some(&self.frame));
        gl.framebuffer_texture_2d(Gl::FRAMEBUFFER, Gl::COLOR_ATTACHMENT0, Gl::TEXTURE_2D, Some(&self.sums), 0);
    }
}

fn fill(gl: &Gl, buffer: &WebGlBuffer, values: &Object) {
    gl.bind_buffer(Gl::ARRAY_BUFFER, Some(buffer));
    gl.buffer_data_with_array_buffer_view(Gl::ARRAY_BUFFER, values, Gl::STATIC_DRAW);
}

fn unfiltered(gl: &Gl) {
    for (what, how) in [
        (Gl::TEXTURE_MIN_FILTER, Gl::NEAREST),
        (Gl::TEXTURE_MAG_FILTER, Gl::NEAREST),
        (Gl::TEXTURE_WRAP_S, Gl::CLAMP_TO_EDGE),
        (Gl::TEXTURE_WRAP_T, Gl::CLAMP_TO_EDGE),
    ] {
        gl.tex_parameteri(Gl::TEXTURE_2D, what, how as i32);
    }
}

/// Uses a program that places points.
fn place(gl: &Gl, program: &Program, viewport: Viewport, window: Window, size: f64) {
    gl.use_program(Some(&program.program));
    let [x, y] = viewport.center.map(|x| x as f32);
    gl.uniform2f(program.at(gl, "center").as_ref(), x, y);
    let scale = viewport.scale(window);
    let (across, up) = (2.0 * scale / window.width, 2.0 * scale / window.height);
    gl.uniform2f(program.at(gl, "scale").as_ref(), across as f32, up as f32);
    gl.uniform1f(program.at(gl, "size").as_ref(), size as f32);
}
