//! A panic on a thread of the compute backend is the cause of what its caller sees. Alone in its file: every guarded
//! computation of the process that is under way then counts as failed.

use std::thread;

use whence_backend::device::{DeviceFailure, guarded};

#[test]
fn a_panic_of_the_backends_own_thread_is_the_cause_of_what_follows() {
    let on_runner = |outcome: Result<(), DeviceFailure>| {
        // As the backend names the thread that owns a device.
        let runner = thread::Builder::new().name("DSD-4-0".into());
        assert!(runner.spawn(|| panic!("wgpu error: Out of Memory")).unwrap().join().is_err());
        outcome
    };
    let no_room = Err(DeviceFailure::NoRoom("wgpu error: Out of Memory".into()));
    let follows = Err(DeviceFailure::Other("couldn't find resource for that handle".into()));
    assert_eq!(guarded(|| on_runner(follows), |failure| failure), no_room);
    // A kernel that was never launched leaves a result that means nothing.
    assert_eq!(guarded(|| on_runner(Ok(())), |failure| failure), no_room);
    assert_eq!(guarded(|| Ok::<_, DeviceFailure>(1), |failure| failure), Ok(1), "what is past is past");
}
